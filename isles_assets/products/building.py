"""Building a product: of one subject, or of many in several processes; and which subjects are up to date."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from isles_assets.lib.files import FileStatus, atomic_write, lack_of_space, status_of, write_errors_refused
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress
from isles_assets.lib.threads import InBackground
from isles_assets.lib.words import counted
from isles_assets.lib.workers import map_in_processes
from isles_assets.products.product import Build, Product
from isles_assets.products.sidecar import Sidecar, read_sidecar, store_sidecar
from isles_assets.products.sources import UnfitError, clinical_digest
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow

STAGE_SIZE = 5
"""Number of subjects that are staged, and then freed, together."""
MAX_LOCAL_SUBJECTS = 3 * STAGE_SIZE - 1
"""Number of subjects whose files are on the disk at a time, if they are staged: a group that is being built, the group
that is being staged meanwhile, and less than a group from an earlier run, which is staged with the first. Subjects that
may not be staged come on top."""

Stage = Callable[[Sequence[Sidecar]], None]
"""Stages and frees the files of finished subjects."""


@dataclass(frozen=True)
class State:
    """The sidecar of files that are up to date; or None, and the reason why they are not."""

    sidecar: Sidecar | None
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of building a subject: the sidecar or the error."""

    subject: str
    result: Sidecar | Exception
    written: bool
    """Whether the files were written; False if they were up to date, or failed."""


def build_subject(product: Product, build: Build, row: ManifestRow) -> Sidecar:
    """Build the files of the row's subject, whether or not they are up to date. Can run in any process.

    Returns:
        The stored sidecar.

    Raises:
        Refusal: Sources cannot be used, all of which it names; or the disk is full. Older files stay.
    """
    try:
        return _build(product, build, row)
    except UnfitError as first:
        findings = list(_unfit_sources(product, build, row))
        raise Refusal(f"{row.subject} {product.failure_text}.", findings or [first.finding(product.asset)]) from first


def _build(product: Product, build: Build, row: ManifestRow) -> Sidecar:
    for volume in product.sources:
        product.check(build, row, volume)
    folder, sidecar_path = build.folder, product.sidecar_path(build.folder, row.subject)
    paths = {config.name: product.path(folder, config, row.subject) for config in product.configs}
    with write_errors_refused(product.root(folder)), ExitStack() as stack:
        temporary = {name: stack.enter_context(atomic_write(path)) for name, path in paths.items()}
        result = product.make(build, row, temporary)
        noted = {name: status_of(path) for name, path in temporary.items()}
        sidecar_path.unlink(missing_ok=True)  # all files are complete, and replace older ones from here on
    sidecar = Sidecar(
        subject=row.subject,
        version=product.version,
        clinical=clinical_digest(row),
        synthetic=row.synthetic,
        files=result.files,
        sources=result.sources,
        facts=result.facts,
        noted=noted,
    )
    return update_noted_status(product, folder, sidecar)


def _unfit_sources(product: Product, build: Build, row: ManifestRow) -> Iterator[Finding]:
    """Yield a finding for each source that cannot be used."""
    for volume in product.sources:
        try:
            product.check(build, row, volume)
            product.read(build, row, volume)
        except UnfitError as error:
            yield error.finding(product.asset)


def state_of(product: Product, folder: DataFolder, row: ManifestRow, tree: Path | None = None) -> State:
    """Return whether a subject's files are up to date with the manifest's row and the tree.

    Files and sources are compared with their sidecar. One with another status than noted is read again for its digest.

    Args:
        tree: The tree; None: compare the sources with the manifest alone.

    Returns:
        The state. Its sidecar notes the present statuses, and is not stored yet.

    Raises:
        OSError: A file that is there cannot be read.
    """
    path, name = product.sidecar_path(folder, row.subject), product.name
    sidecar = read_sidecar(path)
    if sidecar is None:
        return State(None, f"has a {name} record that cannot be read" if path.exists() else f"has no {name} yet")
    if sidecar.version != product.version:
        return State(None, f"has a {name} of format {sidecar.version}, which is now {product.version}")
    if sidecar.clinical != clinical_digest(row):
        return State(None, f"has a {name} with other clinical values")
    sources = {column: source.refreshed(row.volumes[column], tree) for column, source in sidecar.sources.items()}
    if changed := [column for column, source in sources.items() if source is None]:
        return State(None, f"has a {name} made before these changed: {', '.join(changed)}")
    if reason := product.mismatch(row, sidecar):
        return State(None, reason)
    statuses = _statuses(product, folder, sidecar)
    trusted = [config for config, status in statuses.items() if status == sidecar.noted.get(config)]
    if reason := product.damage(folder, sidecar, trusted):
        return State(None, reason)
    return State(replace(sidecar, sources={c: source for c, source in sources.items() if source}, noted=statuses))


def _statuses(product: Product, folder: DataFolder, sidecar: Sidecar) -> dict[str, FileStatus]:
    """Return the present status by config of the subject's files that are there."""
    paths = product.expected_files(folder, sidecar)
    return {config: status_of(path) for config, path in paths.items() if path.exists()}


def states_of(
    product: Product, folder: DataFolder, rows: Sequence[ManifestRow], tree: Path | None = None, *, workers: int = 1
) -> dict[str, State]:
    """Return the state of each row's subject, and store the statuses that they note.

    Args:
        tree: See `state_of`.
        workers: Number of threads.

    Raises:
        Refusal: A sidecar cannot be stored.
        OSError: A file that is there cannot be read.
    """
    with ThreadPoolExecutor(workers) as executor:
        results = executor.map(partial(state_of, product, folder, tree=tree), rows)
        states = {row.subject: state for row, state in zip(rows, results, strict=True)}
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
    """Return the sidecars, by subject, of the files that are up to date.

    Args:
        tree: See `state_of`.
        decode: Leave out files that were built without decoding.
        workers: Number of threads.

    Raises:
        Refusal: A sidecar cannot be stored.
        OSError: A file that is there cannot be read.
    """
    states = states_of(product, folder, rows, tree, workers=workers)
    sidecars = {subject: state.sidecar for subject, state in states.items() if state.sidecar}
    return {subject: sidecar for subject, sidecar in sidecars.items() if sidecar.decoded or not decode}


def update_noted_status(product: Product, folder: DataFolder, sidecar: Sidecar) -> Sidecar:
    """Store the statuses of a subject's files after this package renamed or linked them, and return the new sidecar.

    The status of a file with another size, time or inode is not stored, so that the file is read again.

    Raises:
        Refusal: The sidecar cannot be stored.
    """
    statuses = _statuses(product, folder, sidecar)
    same_file = {
        config: status for config, status in statuses.items() if status.same_but_for_ctime(sidecar.noted.get(config))
    }
    sidecar = replace(sidecar, noted={**sidecar.noted, **same_file})
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
    """Build the subjects that are not up to date, and yield an outcome for each row. A failure stops no other subject.

    Files built without decoding are built again if `build.decode`. A full group of finished subjects is staged while
    the next group is built. A smaller one waits for the next run, so that a run of one subject makes no commit of its
    own.

    Args:
        workers: Number of processes.
        log: Where progress is reported.
        stage: Called in a thread with at least `STAGE_SIZE` sidecars, or with what is left of a group of which subjects
            failed, and with subjects that a killed run freed in part. None: all files stay. An interrupted caller does
            not wait for it.

    Raises:
        Refusal: The disk has no room for the files. Nothing was written.
        Exception: Whatever `stage` raises, once the group that is being built is complete.
    """
    folder = build.folder
    current = up_to_date(product, folder, rows, build.root, decode=build.decode, workers=workers)
    to_build = [row for row in rows if row.subject not in current]
    size = STAGE_SIZE if stage else max(1, len(to_build))
    batches = [to_build[start : start + size] for start in range(0, len(to_build), size)] or [[]]
    for subject, sidecar in current.items():
        yield Outcome(subject, sidecar, written=False)
    unstaged = [sidecar for sidecar in current.values() if not sidecar.freed]
    staging = InBackground(stage) if stage else None
    if staging:
        if partly_freed := [s for s in current.values() if s.freed and product.expected_files(folder, s)]:
            staging.start(partly_freed)  # a run was killed while it freed them
        while len(unstaged) >= STAGE_SIZE:
            staging.start(unstaged[:STAGE_SIZE])
            unstaged = unstaged[STAGE_SIZE:]
        staging.finish()
    _check_room(product, folder, batches, workers, frees=stage is not None)
    log(_work_to_do(len(current), len(to_build)))
    progress = Progress("subject", len(to_build), log)
    for batch in batches:
        arguments = {row.subject: (product, build, row) for row in batch}
        for subject, result in map_in_processes(build_subject, arguments, workers):
            progress.advance(0 if isinstance(result, Exception) else result.size)
            if isinstance(result, Sidecar):
                unstaged.append(result)
            yield Outcome(subject, result, written=isinstance(result, Sidecar))
        if staging and unstaged and max(len(unstaged), len(batch)) >= STAGE_SIZE:
            staging.start(unstaged)  # also if some of the batch failed: the next batch needs the room
            unstaged = []
    if staging:
        staging.finish()


def _work_to_do(current: int, to_build: int) -> str:
    if not current:
        return f"{counted(to_build, 'subject')} to do"
    return f"{counted(current, 'subject is', 'subjects are')} up to date, {to_build or 'nothing'} to do"


def free(product: Product, folder: DataFolder, sidecar: Sidecar) -> None:
    """Remove a subject's files, which the Hub must have. The sidecar stays and records that.

    Raises:
        Refusal: The sidecar cannot be stored. No file was removed.
    """
    store_sidecar(product.sidecar_path(folder, sidecar.subject), replace(sidecar, freed=True))
    for config in product.configs:
        product.path(folder, config, sidecar.subject).unlink(missing_ok=True)


def read_sidecars(product: Product, folder: DataFolder) -> list[Sidecar]:
    """Return all stored sidecars of `product`, sorted by subject, without those that cannot be read."""
    paths = sorted(product.sidecar_path(folder, "*").parent.glob("*.json"))
    return [sidecar for path in paths if (sidecar := read_sidecar(path))]


def _check_room(
    product: Product, folder: DataFolder, batches: Sequence[Sequence[ManifestRow]], workers: int, *, frees: bool
) -> None:
    """Raise `Refusal` unless the disk has room for each batch; if it `frees`, beside the batch before.

    A file that replaces another needs room for both until it is complete, which is true of one subject per worker. If
    the replaced file has further links, because a local target publishes it, its room is not freed at all.
    """
    needed = 0
    together = [[*before, *batch] for before, batch in pairwise([[], *batches])] if frees else batches
    for batch in together:
        sizes = {row.subject: product.bytes_needed(row) for row in batch}
        replaced = {
            row.subject: _freed_by_replacing(product, folder, row.subject) for row in batch if sizes[row.subject]
        }
        growth = sum(sizes.values()) - sum(replaced.values())
        needed = max(needed, growth + sum(sorted(replaced.values())[-workers:]))
    if problem := lack_of_space(folder.root, needed):
        or_free = "" if frees else f", or set free_disk in the run config of {product.asset}"
        mend = f"free space, or set ISLES_DATA_DIR to a larger disk{or_free}"
        raise Refusal.of(f"No {product.name} was made.", problem, mend, path=folder.root)


def _freed_by_replacing(product: Product, folder: DataFolder, subject: str) -> int:
    paths = (product.path(folder, config, subject) for config in product.configs)
    statuses = [path.stat() for path in paths if path.exists()]
    return sum(status.st_size for status in statuses if status.st_nlink == 1)
