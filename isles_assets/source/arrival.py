"""The release in the data folder: its archive is downloaded and its tree extracted, unless they are there already."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isles_assets.lib.files import lack_of_space, nearest_existing
from isles_assets.lib.findings import Finding, Materialize, Refusal
from isles_assets.lib.progress import readable_bytes
from isles_assets.release.release import Release
from isles_assets.release.zenodo_record import ORIGIN_NOTE, ZenodoRecord
from isles_assets.source.archive import NOT_EXTRACTED
from isles_assets.source.download import download
from isles_assets.source.extraction import extract_release, extracted_size, remove_part
from isles_assets.source.partial import arrived_size
from isles_assets.source.patience import NOT_DOWNLOADED
from isles_assets.source.verified import is_verified, read_note, verify
from isles_assets.source.zenodo import Zenodo


@dataclass(frozen=True)
class Places:
    """Paths of the archive, of the tree that is extracted from it, and of the shards made of the tree."""

    archive: Path
    tree: Path
    shards: Path


def fetch(release: Release, places: Places, zenodo: Zenodo, *, shards: int) -> str:
    """Download the archive of `release` unless it, or the tree extracted from it, is there. Verify an archive once.

    Args:
        shards: Bytes of all shards. The disk must have room for them, the archive and the tree.

    Returns:
        In words, why the archive or tree is there.

    Raises:
        Refusal: The archive cannot be downloaded, or something else is in its place, which stays as it is.
    """
    record = release.record
    if places.tree.exists():
        _check_origin(record, places.tree)
        return "not needed: the tree that was extracted from it is there"
    if places.archive.exists():
        verify(places.archive, release, zenodo.log)
        return "was there"
    _check_room(room_needed(record, places, shards=shards))
    download(record, places.archive, zenodo)
    return "downloaded"


def unpack(release: Release, places: Places, *, workers: int, log: Callable[[str], None] = lambda words: None) -> None:
    """Extract the tree from the archive that `fetch` has verified, unless the tree is there.

    Raises:
        Refusal: There is no verified archive, the tree is of another one, or as in `extract_release`.
    """
    record = release.record
    if places.tree.exists():
        _check_origin(record, places.tree)
        remove_part(places.tree, log)
        return
    if not is_verified(places.archive, record):
        problem = "was not seen to be the pinned one" if places.archive.exists() else "is not there"
        mend = Materialize(("zenodo_archive",))
        raise Refusal.of(NOT_EXTRACTED, problem, mend, path=places.archive)
    origin = {ORIGIN_NOTE: json.dumps(_origin(record)).encode()}
    extract_release(release, places.archive, places.tree, workers=workers, extra_files=origin, log=log)


def room_needed(record: ZenodoRecord, places: Places, *, shards: int) -> dict[Path, int]:
    """Return the bytes still to write at each of `places`, if all shards have `shards` bytes.

    The tree counts as large as the archive, because its files are compressed already.
    """
    written = sum(path.stat().st_size for path in places.shards.rglob("*") if path.is_file())
    return {
        places.archive: 0 if places.archive.exists() else record.size - arrived_size(places.archive),
        places.tree: 0 if places.tree.exists() else max(record.size - extracted_size(places.tree), 0),
        places.shards: max(shards - written, 0),
    }


def _check_room(needed: Mapping[Path, int]) -> None:
    """Raise `Refusal` unless every disk has room for the bytes `needed` on it."""
    disks: dict[int, list[Path]] = {}
    for path in needed:
        disks.setdefault(nearest_existing(path).stat().st_dev, []).append(path)
    findings = []
    for paths in disks.values():
        if problem := lack_of_space(paths[0], sum(needed[path] for path in paths)):
            parts = ", ".join(f"{readable_bytes(needed[path])} for {path.name}" for path in paths)
            mend = (
                "free space, set ISLES_DATA_DIR to a larger disk, or set free_disk in the run config of zenodo_archive "
                "and subject_shard"
            )
            findings.append(Finding(f"{problem}: {parts}", mend, path=str(nearest_existing(paths[0]))))
    if findings:
        raise Refusal(NOT_DOWNLOADED, findings)


def _check_origin(record: ZenodoRecord, tree: Path) -> None:
    """Raise `Refusal` unless the note in `tree` says that it was extracted from the archive of `record`.

    The note is written before the tree gets its name. A tree that somebody put there has none.
    """
    note = read_note(tree / ORIGIN_NOTE)
    if note != _origin(record):
        origin = f"was extracted from {note}" if note else "was not extracted here"
        mend = "move it away; or set ISLES_RAW_ROOT to it, to use it whatever it is"
        problem = f"{origin}, and {record.version} is pinned, md5 {record.md5}"
        raise Refusal.of("The release's tree was not used.", problem, mend, path=tree)


def _origin(record: ZenodoRecord) -> dict[str, str]:
    return {"record": record.record, "version": record.version, "md5": record.md5}
