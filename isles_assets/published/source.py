"""The volumes of an export as files: of a restored tree, or restored from a published dataset."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isles_assets.hub.reading import Revision, open_revision
from isles_assets.hub.restoring.shards import Selection, index_shards
from isles_assets.hub.restoring.volumes import restore_volumes
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.words import counted
from isles_assets.reading.nifti import SYNTHETIC_MARK, NiftiError, read_header
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume

HEADLINE = "Nothing was exported."
SAMPLE = "SYNTHETIC SAMPLE, not the release. "


@dataclass(frozen=True)
class Choice:
    """What to export, and how files are fetched."""

    dataset: str
    """Repo id on the Hub, published folder, or restored tree."""
    revision: str | None = None
    subjects: Sequence[str] | None = None
    """None: all that are there."""
    tree: Path | None = None
    """Folder that published volumes are restored to; None for one beside the export."""
    overwrite: bool = False
    """Whether files of `tree` with other content, and an earlier export, are replaced."""
    workers: int = 4


@dataclass(frozen=True)
class Volumes:
    """Volumes of some subjects as files in a tree."""

    release: Release
    root: Path
    subjects: tuple[str, ...]
    name: str
    """The dataset, with its commit if it is on the Hub."""
    revision: Revision | None
    """The published dataset; None of a tree, which has neither clinical values nor folds."""
    synthetic: bool

    def path(self, volume: Volume, subject: str) -> Path:
        return self.root / volume.path(subject)


def is_tree(release: Release, location: str) -> bool:
    """Return whether `location` is a folder with the release's own paths."""
    return any(Path(location, top).is_dir() for top in release.tops)


def obtain(
    release: Release, volumes: Sequence[Volume], out: Path, choice: Choice, log: Callable[[str], None]
) -> Volumes:
    """Return `volumes` of the chosen subjects as files. Those of a published dataset are restored, each verified.

    Raises:
        Refusal: A file is missing, damaged or in the way, a subject is not there, or the dataset cannot be read. What
            was restored stays, so the next attempt goes on.
    """
    if is_tree(release, choice.dataset):
        return _of_tree(release, volumes, choice, log)
    revision = open_revision(choice.dataset, choice.revision)
    root = choice.tree or out.parent / f"{release.name}-{release.version}"
    log(revision.name)
    index = index_shards(revision, Selection(release, volumes, clinical=False), choice.subjects, choice.workers, log)
    if index.findings:
        raise Refusal(HEADLINE, index.findings)
    size = readable_bytes(sum(volume.size for volume in index.volumes))
    log(f"{counted(len(index.subjects), 'subject')}, {counted(len(index.volumes), 'volume')}, {size}, to {root}")
    restored = restore_volumes(index.volumes, root, overwrite=choice.overwrite, workers=choice.workers, log=log)
    if restored.findings:
        raise Refusal(HEADLINE, restored.findings, f"{restored.written + restored.kept} files stay in {root}.")
    log(f"Files: {restored.written} restored to {root}, {restored.kept} there already and kept")
    synthetic = any(shard.footer.synthetic for shard in index.shards)
    return Volumes(release, root, index.subjects, revision.name, revision, synthetic)


def _of_tree(release: Release, volumes: Sequence[Volume], choice: Choice, log: Callable[[str], None]) -> Volumes:
    root = Path(choice.dataset).resolve()
    if choice.revision or choice.tree:
        problem, mend = "is a restored tree", "leave --revision and --tree out, or name a published dataset"
        raise Refusal.of(HEADLINE, problem, mend, path=root)
    there = {subject: _there(root, volumes, subject) for subject in release.subjects}
    if absent := [subject for subject in choice.subjects or () if not there[subject]]:
        mend = "choose among those that are"
        raise Refusal(HEADLINE, [Finding("is not in this tree", mend, subject=subject) for subject in absent])
    subjects = tuple(s for s, columns in there.items() if columns and (choice.subjects is None or s in choice.subjects))
    if not subjects:
        names = name_some([volume.column for volume in volumes])
        raise Refusal.of(HEADLINE, f"holds none of {names}", "name a tree that `isles24 restore` wrote", path=root)
    mend = "restore it into this tree, or choose other subjects or volumes"
    missing = [
        Finding("is not there", mend, path=volume.path(subject), subject=subject)
        for subject in subjects
        for volume in volumes
        if volume.column not in there[subject]
    ]
    if missing:
        raise Refusal(HEADLINE, missing)
    log(f"{root}: {counted(len(subjects), 'subject')}, {counted(len(subjects) * len(volumes), 'volume')}")
    return Volumes(release, root, subjects, str(root), None, _is_synthetic(root / volumes[0].path(subjects[0])))


def _there(root: Path, volumes: Sequence[Volume], subject: str) -> Collection[str]:
    return {volume.column for volume in volumes if os.path.lexists(root / volume.path(subject))}


def _is_synthetic(path: Path) -> bool:
    try:
        texts: Mapping[str, str] = dict(read_header(path).text)
    except NiftiError:  # the export says which file is damaged
        return False
    return any(text.startswith(SYNTHETIC_MARK) for text in texts.values())
