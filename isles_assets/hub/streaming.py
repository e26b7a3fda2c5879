"""Reading a published dataset as its users do: `load_dataset` with streaming."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from huggingface_hub import constants

from isles_assets.hub.denials import denial_of, one_line
from isles_assets.hub.reading import way_back
from isles_assets.lib.files import of_machine, write_errors_refused
from isles_assets.lib.findings import Refusal
from isles_assets.products.config import SPLIT
from isles_assets.tables.storage import SUBJECT_COLUMN

if TYPE_CHECKING:
    import datasets

_READ_AHEAD = 1 << 16
"""Least number of bytes that the Hub's file system fetches; its default is 5 MiB a file."""


@contextmanager
def _temporary_cache() -> Iterator[str]:
    """Yield a folder for the library's cache. It locks a folder there even if it caches nothing.

    Raises:
        Refusal: The library cannot write the card to the Hub's cache on this disk.
    """
    with (
        TemporaryDirectory() as cache,
        write_errors_refused(Path(constants.HF_HUB_CACHE), "HF_HOME", headline="The dataset was not loaded."),
    ):
        yield cache


def rows_of(location: str, config: str, split: str = SPLIT, **options: Any) -> "datasets.IterableDataset":
    """Return the rows of a split of `config` of a published dataset.

    Args:
        location: A repo id on the Hub, or a folder.
        options: Further arguments of `load_dataset`.

    Raises:
        Refusal: The library cannot write the card to its cache on this disk.
    """
    import datasets

    with _temporary_cache() as cache:
        return datasets.load_dataset(location, config, split=split, streaming=True, cache_dir=cache, **options)


def splits_of(location: str, config: str) -> list[str]:
    """Return the names of the splits of a published config, in the card's order.

    Args:
        location: A repo id on the Hub, or a folder.

    Raises:
        Refusal: The library cannot write the card to its cache on this disk.
    """
    import datasets

    with _temporary_cache() as cache:
        return list(datasets.get_dataset_split_names(location, config, cache_dir=cache))


def rows_of_files(files: Sequence[str], columns: Sequence[str]) -> "datasets.IterableDataset":
    """Return `columns` of the rows of published Parquet files; of the others nothing is read.

    Args:
        files: Paths, or addresses as in a streamed dataset.

    Raises:
        Refusal: The library cannot write to its cache on this disk.
    """
    storage = {"hf": {"block_size": _READ_AHEAD}}
    return rows_of(
        "parquet", "default", data_files={SPLIT: list(files)}, columns=list(columns), storage_options=storage
    )


_FAULTS = (AssertionError, AttributeError, ImportError, NameError, TypeError)
"""Exceptions for mistakes in the code. Readers raise the other kinds, such as `KeyError`, for damaged files as well."""


@contextmanager
def loading_explained(location: str) -> Iterator[None]:
    """Turn an exception of a reader of the dataset at `location` into a `Refusal`.

    Faults of the program and failures of this machine are raised as they are.
    """
    try:
        yield
    except (Refusal, *_FAULTS):
        raise
    except Exception as error:
        if of_machine(error):
            raise
        denial = denial_of(error)
        what = one_line(str(denial) if denial else f"{type(error).__name__}: {error}")
        mend = way_back(denial) if denial else "see that it is whole, and can be reached; publish it again if it is not"
        raise Refusal.of("The dataset could not be read.", f"does not load: {what}", mend, path=location) from None


def first_row(rows: "datasets.IterableDataset") -> dict[str, Any]:
    """Return the first row, decoded."""
    (row,) = first_stored_row(rows).to_pylist()
    return dict(rows.features.decode_example(row))


def first_stored_row(rows: "datasets.IterableDataset") -> pa.Table:
    """Return the first row with volumes and pictures as they are stored. They stay in Arrow's memory, uncopied.

    A dataset in one file is read to its end: threads of Arrow read the next row groups ahead, and abort a process that
    ends meanwhile ("terminate called without an active exception"; https://github.com/apache/arrow/issues/45214).
    """
    stored = rows.with_format("arrow").iter(batch_size=1)
    first = next(stored)
    if rows.num_shards == 1:
        deque(stored, maxlen=0)
    return first


def subject_rows(location: str, config: str, split: str = SPLIT, **options: Any) -> "datasets.IterableDataset":
    """Return the rows of a split with the subject only. `select_columns` would fetch the volumes, too."""
    only = {"columns": [SUBJECT_COLUMN], "storage_options": {"hf": {"block_size": _READ_AHEAD}}}
    return rows_of(location, config, split, **only, **options)
