"""Removing the synthetic sample and all that was made from it.

A data folder is cleared only if everything in it is known to come from the sample. Each part has to show that itself.
"""

import shutil
from pathlib import Path

from isles_assets.lib.files import remove
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.products.building import read_sidecars
from isles_assets.products.dataset import Dataset
from isles_assets.reading.nifti import SYNTHETIC_MARK, NiftiError, read_header
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.listing import read_listing, sample_listing_path
from isles_assets.tables.manifest import read_manifest

_MADE_OF_OTHERS = "report"
"""The folder of the report, which is made from the manifest and the products. These are looked at instead."""

_CARD, _MARK = "README.md", "SYNTHETIC SAMPLE"


def remove_sample(dataset: Dataset, folder: DataFolder) -> list[Path]:
    """Remove everything in the data folder, and return the removed paths.

    Raises:
        Refusal: Something in the folder was not made from the sample. Then nothing was removed.
    """
    parts = sorted(folder.root.iterdir()) if folder.root.exists() else []
    of_pilot = DataFolder(folder.pilot, folder.release, release_root=folder.root)
    findings = [
        Finding(why, "move away what you need, and remove it", path=str(path))
        for in_folder, paths in (
            (folder, [path for path in parts if path != folder.pilot]),
            (of_pilot, sorted(of_pilot.root.iterdir()) if of_pilot.root.is_dir() else []),
        )
        for path in paths
        if (why := _why_not(dataset, in_folder, path))
    ]
    if findings:
        raise Refusal("Nothing was removed.", findings)
    # The tree goes before its listing, which shows that it is the sample: an interrupted removal can be repeated.
    shutil.rmtree(folder.sample, ignore_errors=True)
    for path in parts:
        remove(path)
    return parts


def _why_not(dataset: Dataset, folder: DataFolder, path: Path) -> str:
    """Return why `path`, in the data folder, may not come from the sample alone; empty if it does."""
    products = {product.root(folder): product for product in dataset.products}
    if path.name == _MADE_OF_OTHERS:
        return ""
    if path == folder.sample.parent:
        return _why_no_sample(folder)
    if path == folder.manifest.parent:
        return _why_no_tables(folder)
    if path == folder.hub:
        return "" if all(map(_is_of_sample, path.iterdir())) else "holds what was not made of the sample"
    if product := products.get(path):
        real = any(not sidecar.synthetic for sidecar in read_sidecars(product, folder))
        return f"holds {product.plural} of a real release" if real else ""
    return "was not made of the sample"


def _why_no_sample(folder: DataFolder) -> str:
    ours = {folder.sample, sample_listing_path(folder)}
    if others := [path.name for path in folder.sample.parent.iterdir() if path not in ours]:
        return f"holds {name_some(others)} beside the sample"
    if folder.sample.exists() and not sample_listing_path(folder).exists():
        return "holds a tree that was not made here: it has no listing"
    paths = [folder.sample / folder.release.reference.path(subject) for subject in folder.release.subjects]
    real = [path for path in paths if path.exists() and not _is_synthetic(path)]
    return f"holds a tree that is not synthetic, as {real[0]} shows" if real else ""


def _is_synthetic(volume: Path) -> bool:
    try:
        return any(text.startswith(SYNTHETIC_MARK) for _, text in read_header(volume).text)
    except NiftiError:
        return False


def _why_no_tables(folder: DataFolder) -> str:
    try:
        real = folder.manifest.exists() and not all(row.synthetic for row in read_manifest(folder).values())
        return "holds tables of a real release" if real or read_listing(folder).of else ""
    except Refusal as refusal:
        return f"holds tables that cannot be read: {refusal}"


def _is_of_sample(owner: Path) -> bool:
    """Return whether all that the local hub has of `owner` are publications whose cards say SYNTHETIC SAMPLE."""
    if not owner.is_dir():
        return False
    entries = [entry for entry in owner.iterdir() if not entry.is_symlink() and not entry.name.endswith(".lock")]
    cards = [revision / _CARD for entry in entries if entry.is_dir() for revision in entry.iterdir()]
    return all(map(Path.is_dir, entries)) and all(card.is_file() and _MARK in card.read_text() for card in cards)
