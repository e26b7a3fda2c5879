"""The clinical values and folds of a published dataset, without its volumes."""

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.hub.reading import RemoteFile, Revision, SeekableFile
from isles_assets.hub.restoring.shards import Selection, index_shards
from isles_assets.lib.findings import Refusal
from isles_assets.products.config import SPLIT
from isles_assets.reading.workbooks import Value
from isles_assets.release.release import Release
from isles_assets.tables.storage import SUBJECT_COLUMN

_PREVIEW = f"preview/{SPLIT}.parquet"
_FOLD = "fold"
_TAIL = 1 << 17
"""Bytes at the end of the previews that most likely hold their footer, which describes 15 groups of rows."""


def read_folds(revision: Revision, subjects: Sequence[str]) -> tuple[dict[str, int], str]:
    """Return the published fold of each of `subjects`, and why there are none: then the other one is empty.

    Raises:
        Refusal: The file that holds them cannot be read.
    """
    file: RemoteFile | None = revision.find([_PREVIEW]).get(_PREVIEW)
    if file is None:
        return {}, f"the dataset has no {_PREVIEW}"
    try:
        source = pq.ParquetFile(pa.PythonFile(cast(BinaryIO, SeekableFile(file, _TAIL))))
        if _FOLD not in source.schema_arrow.names:
            return {}, f"the dataset has no column {_FOLD}"
        rows = source.read([SUBJECT_COLUMN, _FOLD], use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:  # a failed read raises `Refusal`
        problem, mend = f"cannot be read: {error}", "name another revision, or tell the publisher"
        raise Refusal.of("The folds could not be read.", problem, mend, path=_PREVIEW) from error
    folds = {row[SUBJECT_COLUMN]: row[_FOLD] for row in rows}
    if any(folds.get(subject) is None for subject in subjects):
        return {}, "the dataset gives some subjects no fold, as it does in a part of the release"
    return {subject: int(folds[subject]) for subject in subjects}, ""


def read_clinical(
    release: Release, revision: Revision, subjects: Sequence[str], workers: int, log: Callable[[str], None]
) -> Mapping[str, Mapping[str, Value]]:
    """Return the clinical values of `subjects` by column.

    Raises:
        Refusal: Those of a subject are not there or cannot be read.
    """
    index = index_shards(revision, Selection(release, (), clinical=True), subjects, workers, log)
    if index.findings:
        raise Refusal("The clinical values could not be read.", index.findings)
    return index.clinical
