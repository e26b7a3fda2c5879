"""Building a product: of one subject, or of many in several processes; only those that are not up to date.

`build_subject` depends on nothing but its arguments, so that it can run in any process.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from isles_assets.lib.files import explained, lack_of_room, status_of, written_whole
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress
from isles_assets.lib.words import counted
from isles_assets.lib.workers import each_in_processes
from isles_assets.products.product import Build, Product
from isles_assets.products.sidecar import Sidecar, read_sidecar, store_sidecar
from isles_assets.products.sources import UnfitError, clinical_digest
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow

STAGED_TOGETHER = 5
"""Subjects whose files are handed over, and freed, at a time."""
HERE_AT_MOST = 2 * STAGED_TOGETHER - 1
"""Subjects whose files are on the disk at any moment if files are handed over: those that an earlier run has left,
fewer than a group, and the group that is being made. Those that may not be handed over come on top."""

Stage = Callable[[Sequence[Sidecar]], None]


@dataclass(frozen=True)
class State:
    """The sidecar of files that are up to date, else None and why they are not."""

    sidecar: Sidecar | None
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a subject: the sidecar of its files or the error, and whether they had to be written."""

    subject: str
    result: Sidecar | Exception
    written: bool


def build_subject(product: Product, build: Build, row: ManifestRow) -> Sidecar:
    """Make the files of `product` for the row's subject, whether or not they are up to date.

    Raises `Refusal` naming each source that is not what the manifest says, not a valid volume or otherwise unfit. The
    files made before then stay as they were.
    """
    try:
        return _build(product, build, row)
    except UnfitError as first:
        everything = list(_unfit(product, build, row))
        raise Refusal(f"{row.subject} {product.refused}.", everything or [first.finding(product.asset)]) from first


def _build(product: Product, build: Build, row: ManifestRow) -> Sidecar:
    for volume in product.sources:
        product.check(build, row, volume)
    folder, sidecar_path = build.folder, product.sidecar_path(build.folder, row.subject)
    places = {config.name: product.path(folder, config, row.subject) for config in product.configs}
    with explained(product.root(folder)), ExitStack() as stack:
        paths = {name: stack.enter_context(written_whole(path)) for name, path in places.items()}
        made = product.make(build, row, paths)
        noted = {name: status_of(path) for name, path in paths.items()}
        sidecar_path.unlink(missing_ok=True)  # all files are whole; from here on they take the place of older ones
    sidecar = Sidecar(
        row.subject, product.version, clinical_digest(row), row.synthetic, made.files, made.sources, made.facts, noted
    )
    return note_again(product, folder, sidecar)


def _unfit(product: Product, build: Build, row: ManifestRow) -> Iterator[Finding]:
    """What is wrong with each source."""
    for volume in product.sources:
        try:
            product.check(build, row, volume)
            product.read(build, row, volume)
        except UnfitError as error:
            yield error.finding(product.asset)


def state_of(product: Product, folder: DataFolder, row: ManifestRow, tree: Path | None = None) -> State:
    """Whether the files on disk are what the manifest's row and the files in `tree`, as they are now, give.

    They are compared with their sidecar, by the status of each file: one that has another status than was noted is read
    again, and is what it was if it has its digest. The sidecar returned notes the statuses of now. Without `tree`, the
    sources are compared with the manifest alone.
    """
    path, name = product.sidecar_path(folder, row.subject), product.name
    sidecar = read_sidecar(path)
    if sidecar is None:
        return State(None, f"has a {name} record that cannot be read" if path.exists() else f"has no {name} yet")
    if sidecar.version != product.version:
        return State(None, f"has a {name} of format {sidecar.version}, which is now {product.version}")
    if sidecar.clinical != clinical_digest(row):
        return State(None, f"has a {name} with other clinical values")
    sources = {column: source.of_now(row.volumes[column], tree) for column, source in sidecar.sources.items()}
    if changed := [column for column, source in sources.items() if source is None]:
        return State(None, f"has a {name} made before these changed: {', '.join(changed)}")
    if reason := product.mismatch(row, sidecar):
        return State(None, reason)
    places = product.places(folder, sidecar)
    now = {config: status_of(path) for config, path in places.items() if path.exists()}
    trusted = [config for config, status in now.items() if status == sidecar.noted.get(config)]
    if reason := product.damage(folder, sidecar, trusted):
        return State(None, reason)
    return State(replace(sidecar, sources={c: source for c, source in sources.items() if source}, noted=now))


def states_of(
    product: Product, folder: DataFolder, rows: Sequence[ManifestRow], tree: Path | None = None, *, workers: int = 1
) -> dict[str, State]:
    """The state of each of `rows` by subject; what `workers` threads had to read again is noted in the sidecars."""
    with ThreadPoolExecutor(workers) as executor:
        found = executor.map(partial(state_of, product, folder, tree=tree), rows)
        states = {row.subject: state for row, state in zip(rows, found, strict=True)}
    for subject, state in states.items():
        if state.sidecar:
            store_sidecar(product.sidecar_path(folder, subject), state.sidecar)
    return states


def up_to_date(
    product: Product,
    folder: DataFolder,
    rows: Sequence[ManifestRow],
    tree: Path | None = None,
    *,
    decode: bool = True,
    workers: int = 1,
) -> dict[str, Sidecar]:
    """The sidecars, by subject, of those of `rows` whose files are up to date, and decoded if they are to be."""
    states = states_of(product, folder, rows, tree, workers=workers)
    known = {subject: state.sidecar for subject, state in states.items() if state.sidecar}
    return {subject: sidecar for subject, sidecar in known.items() if sidecar.decoded or not decode}


def note_again(product: Product, folder: DataFolder, sidecar: Sidecar) -> Sidecar:
    """`sidecar`, stored with the status that its files have now that they were renamed or got or lost a link.

    A file of another size, time or inode is another file: what was noted stays, so that it is read again.
    """
    places = product.places(folder, sidecar)
    now = {config: status_of(path) for config, path in places.items() if path.exists()}
    noted = {config: status for config, status in now.items() if status.is_of_file(sidecar.noted.get(config))}
    sidecar = replace(sidecar, noted={**sidecar.noted, **noted})
    store_sidecar(product.sidecar_path(folder, sidecar.subject), sidecar)
    return sidecar


def build_subjects(
    product: Product,
    build: Build,
    rows: Sequence[ManifestRow],
    *,
    workers: int,
    log: Callable[[str], None],
    stage: Stage | None = None,
) -> Iterator[Outcome]:
    """Yield an outcome for each of `rows`, as they come; one that fails does not stop the others.

    What was made without decoding is made again if the build decodes. With `stage`, the sidecars of finished subjects
    are given to it, `STAGED_TOGETHER` at a time and once with those that were left, and their disk is free when it
    returns. Fewer wait for the next run, so that a run of one subject is no hand-over of its own. Without, all files
    stay. Raises `Refusal` if the disk has no room for what is to do, before anything is written.
    """
    folder = build.folder
    known = up_to_date(product, folder, rows, build.root, decode=build.decode, workers=workers)
    work = [row for row in rows if row.subject not in known]
    size = STAGED_TOGETHER if stage else max(1, len(work))
    batches = [work[start : start + size] for start in range(0, len(work), size)] or [[]]
    for subject, sidecar in known.items():
        yield Outcome(subject, sidecar, written=False)
    here = [sidecar for sidecar in known.values() if not sidecar.freed]  # also without work, they may be staged
    if stage:
        if half_freed := [s for s in known.values() if s.freed and product.places(folder, s)]:
            stage(half_freed)  # a run was killed while it freed them
        while len(here) >= STAGED_TOGETHER:
            stage(here[:STAGED_TOGETHER])
            here = here[STAGED_TOGETHER:]
    _check_room(product, folder, batches, workers, frees=stage is not None)
    log(_ahead(len(known), len(work)))
    progress = Progress("subject", len(work), log)
    for batch in batches:
        arguments = {row.subject: (product, build, row) for row in batch}
        for subject, result in each_in_processes(build_subject, arguments, workers):
            progress.advance(0 if isinstance(result, Exception) else result.size)
            if isinstance(result, Sidecar):
                here.append(result)
            yield Outcome(subject, result, written=isinstance(result, Sidecar))
        if stage and here and max(len(here), len(batch)) >= STAGED_TOGETHER:
            stage(here)  # also if some of the batch failed: what is left of it is no room for the next
            here = []


def _ahead(known: int, work: int) -> str:
    """How many are done, and how many are to do."""
    if not known:
        return f"{counted(work, 'subject')} to do"
    return f"{counted(known, 'subject is', 'subjects are')} up to date, {work or 'nothing'} to do"


def free(product: Product, folder: DataFolder, sidecar: Sidecar) -> None:
    """Remove the files, which the Hub must have; the sidecar, which says so, stays."""
    store_sidecar(product.sidecar_path(folder, sidecar.subject), replace(sidecar, freed=True))
    for config in product.configs:
        product.path(folder, config, sidecar.subject).unlink(missing_ok=True)


def read_sidecars(product: Product, folder: DataFolder) -> list[Sidecar]:
    """The sidecars of all that is there of `product`, by subject; those that cannot be read are left out."""
    paths = sorted(product.sidecar_path(folder, "*").parent.glob("*.json"))
    return [sidecar for path in paths if (sidecar := read_sidecar(path))]


def _check_room(
    product: Product, folder: DataFolder, batches: Sequence[Sequence[ManifestRow]], workers: int, *, frees: bool
) -> None:
    """Raise `Refusal` unless the files of any one batch, each as large as its sources, fit beside what is there.

    Those that take the place of others need room for both until they are complete, in each worker at a time; and for
    good if the others have further links, by which a local target still publishes them.
    """
    needed = 0
    for batch in batches:
        sizes = {row.subject: product.room_for(row) for row in batch}
        replaced = {
            row.subject: _freed_by_replacing(product, folder, row.subject) for row in batch if sizes[row.subject]
        }
        growth = sum(sizes.values()) - sum(replaced.values())
        needed = max(needed, growth + sum(sorted(replaced.values())[-workers:]))
    if problem := lack_of_room(folder.root, needed):
        or_free = "" if frees else f", or set free_disk in the run config of {product.asset}"
        mend = f"free space, or set ISLES_DATA_DIR to a larger disk{or_free}"
        raise Refusal.of(f"No {product.name} was made.", problem, mend, path=folder.root)


def _freed_by_replacing(product: Product, folder: DataFolder, subject: str) -> int:
    paths = (product.path(folder, config, subject) for config in product.configs)
    there = [path.stat() for path in paths if path.exists()]
    return sum(status.st_size for status in there if status.st_nlink == 1)
