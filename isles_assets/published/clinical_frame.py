"""The clinical variables of a published dataset as a pandas table. No volume travels."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.hub.reading import RemoteFile, Revision, SeekableFile, open_revision
from isles_assets.hub.restoring.shards import Selection, index_shards
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.products.column import Column
from isles_assets.products.config import SPLIT
from isles_assets.products.dataset import Dataset
from isles_assets.published.columns import columns_of_release, published_columns
from isles_assets.release.clinical import Known
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.tables.clinical import clinical_schema
from isles_assets.tables.storage import SUBJECT_COLUMN

_FOOTER = 1 << 16
"""Bytes at the end of a table that are read at once."""

_WORKERS = 8
_HEADLINE = "There is no clinical table."
_VOLUME = "Nifti"
_PUBLISHER = "name another revision, or tell the publisher"


def clinical_frame(
    dataset: Any, *, known: str | None = None, release: Release = RELEASE, revision: str | None = None
) -> pd.DataFrame:
    """Return the clinical variables of a dataset, one row a subject: types of Arrow, a missing value is `<NA>`.

    `attrs` of the frame has `unit`, `description` and `known`, each a dict by column. They are those that the dataset
    states in `metadata/columns.csv`; of an older or a loaded dataset, those of `release`.

    Args:
        dataset: A repo id on the Hub, a folder laid out as one, or what `load_dataset` returned: a `Dataset`, an
            `IterableDataset`, a dict of splits (of which `train` is taken), or any iterable of rows as dicts.
        known: `admission` for the columns that may serve to predict outcomes, `outcome` for the others; None for all.
        release: The release that the dataset was made from.
        revision: A branch, tag or commit of the repo; None for `main`.

    Returns:
        A frame whose index is `subject_id`. Only columns that the dataset has are in it.

    Raises:
        Refusal: `known` is another word; there is no such dataset, it cannot be read, holds no clinical variables, or
            holds a subject twice; or volumes would have to travel.
    """
    wanted = _known(known)
    if isinstance(dataset, str | os.PathLike):
        opened = open_revision(os.fspath(dataset), revision)
        columns = published_columns(opened, release)
        table = _published_table(opened, list(columns), release)
    else:
        columns = columns_of_release(release)
        table = _loaded_table(_split(dataset), list(columns), release)
    chosen = [columns[name] for name in columns if name in table.column_names]
    chosen = [column for column in chosen if wanted is None or column.known is wanted]
    return _frame(table, chosen)


def _known(known: str | None) -> Known | None:
    if known is None or known in list(Known):
        return None if known is None else Known(known)
    words = ", ".join(f'"{word}"' for word in Known)
    raise Refusal.of(_HEADLINE, f"is {known!r}, which is no time", f"say one of {words}, or leave it out", path="known")


def _frame(table: pa.Table, columns: Sequence[Column]) -> pd.DataFrame:
    subjects = table.column(SUBJECT_COLUMN).to_pylist()
    if len(set(subjects)) < len(subjects):
        twice = sorted({subject for subject in subjects if subjects.count(subject) > 1})
        mend = "give one split, in which each subject has one row"
        raise Refusal(_HEADLINE, [Finding(f"stands twice in the dataset: {name_some(twice)}", mend)])
    selected = table.select([SUBJECT_COLUMN, *(column.name for column in columns)]).replace_schema_metadata(None)
    frame: pd.DataFrame = selected.to_pandas(types_mapper=pd.ArrowDtype).set_index(SUBJECT_COLUMN)
    frame.attrs = {
        "unit": {column.name: column.unit for column in columns},
        "description": {column.name: column.description for column in columns},
        "known": {column.name: column.known.value if column.known else "" for column in columns},
    }
    return frame


def _published_table(revision: Revision, columns: Sequence[str], release: Release) -> pa.Table:
    """Return the columns from the one file that holds them of all subjects or, if there is none, from the shards."""
    joined = [config for config in Dataset.of(release).configs if config.joined]
    paths = [config.path("") for config in joined if {*columns} & {*config.schema.names}]
    files = revision.find(paths) if paths else {}
    for path in paths:
        if path in files:
            return _table_in_file(path, files[path], columns)
    index = index_shards(revision, Selection(release, (), clinical=True), None, _WORKERS, lambda line: None)
    if index.findings:
        raise Refusal("The dataset could not be read.", index.findings)
    rows = [{SUBJECT_COLUMN: subject, **values} for subject, values in index.clinical.items()]
    return pa.Table.from_pylist(rows, clinical_schema(release))


def _table_in_file(path: str, file: RemoteFile, columns: Sequence[str]) -> pa.Table:
    try:
        # Neighbouring columns are read together; the pictures between them are not.
        parquet = pq.ParquetFile(cast(BinaryIO, SeekableFile(file, _FOOTER)), pre_buffer=True)
        names = _present(parquet.schema_arrow.names, columns, path)
        return parquet.read(columns=names, use_threads=False)
    except (OSError, ValueError) as error:  # pyarrow raises both for bad content; a failed read raises `Refusal`
        problem = f"is no table that can be read: {error}"
        raise Refusal.of("The dataset could not be read.", problem, _PUBLISHER, path=path) from error


def _present(names: Iterable[str], columns: Sequence[str], where: str = "") -> list[str]:
    """Return the subject's column and those of `columns` that are among `names`."""
    names = set(names)
    present = [column for column in columns if column in names]
    if SUBJECT_COLUMN not in names or not present:
        lacks = "clinical variables" if SUBJECT_COLUMN in names else f"column {SUBJECT_COLUMN}"
        mend = "give a dataset of isles-assets, loaded with its clinical columns"
        raise Refusal.of(_HEADLINE, f"has no {lacks}", mend, path=where or "the dataset")
    return [SUBJECT_COLUMN, *present]


def _split(dataset: Any) -> Any:
    """Return the split of a dict of splits that holds the release's rows; anything else as it is."""
    if not isinstance(dataset, Mapping):
        return dataset
    if SPLIT in dataset:
        return dataset[SPLIT]
    names = name_some(sorted(map(str, dataset)))
    raise Refusal.of(_HEADLINE, f"has no split {SPLIT}, only {names}", "give one of its splits", path="the dataset")


def _loaded_table(dataset: Any, columns: Sequence[str], release: Release) -> pa.Table:
    features = getattr(dataset, "features", None)
    if features is None:
        return _table_of_rows(dataset, columns, release)
    names = _present(features, columns)
    if hasattr(dataset, "with_format") and hasattr(dataset, "__len__"):
        return dataset.select_columns(names).with_format("arrow")[:]
    if any(type(feature).__name__ == _VOLUME for feature in features.values()):
        dataset = _without_volumes(dataset, names)
    only = dataset.select_columns(names)
    return pa.Table.from_pylist([dict(row) for row in only], only.features.arrow_schema)


def _without_volumes(dataset: Any, names: list[str]) -> Any:
    """Return a streamed dataset that reads only the columns `names` of its files. `select_columns` would read all."""
    from isles_assets.hub.streaming import rows_of_files  # imports `datasets`, which takes a second

    files = getattr(getattr(dataset, "_ex_iterable", None), "kwargs", {}).get("files")
    if not files:
        mend = "give the repo id or the folder instead, or load it with `columns=` and without volumes"
        raise Refusal.of(_HEADLINE, "is streamed with its volumes, which would all travel", mend, path="the dataset")
    return rows_of_files(list(files), names)


def _table_of_rows(rows: Any, columns: Sequence[str], release: Release) -> pa.Table:
    mend = "give a repo id, a folder, or rows as dicts"
    try:
        rows = list(rows)
    except TypeError:
        raise Refusal.of(
            _HEADLINE, f"is a {type(rows).__name__}, which has no rows", mend, path="the dataset"
        ) from None
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        problem = "has rows that are no dicts" if rows else "has no row"
        raise Refusal.of(_HEADLINE, problem, mend, path="the dataset")
    names = _present({name for row in rows for name in row}, columns)
    schema = clinical_schema(release)
    try:
        chosen = [{name: row.get(name) for name in names} for row in rows]
        return pa.Table.from_pylist(chosen, pa.schema([schema.field(name) for name in names]))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        problem = f"has a value of another type than the release's: {error}"
        raise Refusal.of(_HEADLINE, problem, mend, path="the dataset") from error
