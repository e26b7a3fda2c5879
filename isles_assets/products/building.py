"""Many subjects' shards or previews: only those that are not up to date, in several processes, if the disk has room."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa

from isles_assets.lib.files import lack_of_room
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress
from isles_assets.lib.workers import each_in_processes
from isles_assets.products.preview.preview import PreviewRecord, build_preview, preview_state
from isles_assets.products.schema import CONFIGS
from isles_assets.products.shard import ShardRecord, build_shard, shard_state
from isles_assets.products.sidecars import store_record
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import SubjectManifest

STAGED_TOGETHER = 10
"""Subjects whose shards are handed over, and freed, at a time."""

Stage = Callable[[Sequence[ShardRecord]], None]
Record = TypeVar("Record", ShardRecord, PreviewRecord)


@dataclass(frozen=True)
class Outcome(Generic[Record]):
    """What became of a subject: the record of what was made of it or the error, and whether it had to be written."""

    subject: str
    result: Record | Exception
    written: bool


def build_shards(
    root: Path,
    folder: DataFolder,
    rows: Sequence[SubjectManifest],
    schemas: Mapping[str, pa.Schema],
    *,
    workers: int,
    say: Callable[[str], None],
    decode: bool = True,
    stage: Stage | None = None,
) -> Iterator[Outcome[ShardRecord]]:
    """Yield an outcome for each of `rows`, as they come; one that fails does not stop the others.

    Without `decode` volumes are packed unlooked at; with it, shards packed so are made again. With `stage`, the
    records of ten or more finished subjects at a time are given to it, and their disk is free when it returns;
    without, all shards stay. Raises `Refusal` if the disk has no room for what is to do, before any shard is written.
    """
    records = complete_shards(folder, rows, decode=decode)
    work = [row for row in rows if row.subject not in records]
    size = STAGED_TOGETHER if stage else max(1, len(work))
    batches = [work[start : start + size] for start in range(0, len(work), size)] or [[]]
    for subject, record in records.items():
        store_record(folder.shard_record(subject), record)  # with the sources' times of now, if only those changed
        yield Outcome(subject, record, written=False)
    _check_room(folder, batches, workers)
    say(f"{len(rows) - len(work)} subjects are up to date, {len(work)} to do")
    here = [record for record in records.values() if not record.freed]  # also without work, they may be staged
    progress = Progress("subjects", len(work), say)
    for batch in batches:
        arguments = {row.subject: (root, folder, row, schemas, decode) for row in batch}
        for outcome in _build_each(build_shard, arguments, workers, progress):
            if isinstance(outcome.result, ShardRecord):
                here.append(outcome.result)
            yield outcome
        if stage and len(here) >= STAGED_TOGETHER:
            stage(here)
            here = []


def build_previews(
    root: Path, folder: DataFolder, rows: Sequence[SubjectManifest], *, workers: int, say: Callable[[str], None]
) -> Iterator[Outcome[PreviewRecord]]:
    """Yield an outcome for each of `rows`, as they come; one that fails does not stop the others."""
    records = complete_previews(folder, rows)
    for subject, record in records.items():
        store_record(folder.preview_record(subject), record)  # with the sources' times of now, as for shards
        yield Outcome(subject, record, written=False)
    work = {row.subject: (root, folder, row) for row in rows if row.subject not in records}
    say(f"{len(records)} subjects are up to date, {len(work)} to do")
    yield from _build_each(build_preview, work, workers, Progress("subjects", len(work), say))


def _build_each(
    build: Callable[..., Record], arguments: Mapping[str, tuple[Any, ...]], workers: int, progress: Progress
) -> Iterator[Outcome[Record]]:
    for subject, built in each_in_processes(build, arguments, workers):
        written = not isinstance(built, Exception)
        progress.advance(0 if isinstance(built, Exception) else built.size)
        yield Outcome(subject, built, written)


def complete_previews(folder: DataFolder, rows: Sequence[SubjectManifest]) -> dict[str, PreviewRecord]:
    """The records, by subject, of those of `rows` whose previews are up to date."""
    states = {row.subject: preview_state(folder, row).record for row in rows}
    return {subject: record for subject, record in states.items() if record}


def complete_shards(
    folder: DataFolder, rows: Sequence[SubjectManifest], *, decode: bool = True
) -> dict[str, ShardRecord]:
    """The records, by subject, of those of `rows` whose shards are up to date, and decoded if they are to be."""
    states = {row.subject: shard_state(folder, row).record for row in rows}
    return {subject: record for subject, record in states.items() if record and (record.decoded or not decode)}


def _check_room(folder: DataFolder, batches: Sequence[Sequence[SubjectManifest]], workers: int) -> None:
    """Raise `Refusal` unless the shards of any one batch, each as large as its sources, fit beside what is there.

    Those that take the place of others need room for both until they are complete, in each worker at a time.
    """
    needed = 0
    for batch in batches:
        sizes = {row.subject: sum(facts.size for facts in row.volumes.values() if facts) for row in batch}
        replaced = {row.subject: _size_now(folder, row.subject) for row in batch}
        growth = sum(sizes.values()) - sum(replaced.values())
        needed = max(needed, growth + sum(sorted(replaced.values())[-workers:]))
    if problem := lack_of_room(folder.root, needed):
        mend = "free space, set ISLES_DATA_DIR to a larger disk, or set free_disk in the run config of subject_shard"
        raise Refusal("No shard was made.", [Finding("", str(folder.root), problem, mend)])


def _size_now(folder: DataFolder, subject: str) -> int:
    return sum(path.stat().st_size for config in CONFIGS if (path := folder.shard(config, subject)).exists())
