"""The subjects of a pilot, and the setup in which they are published."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from isles_assets.lib.findings import Refusal
from isles_assets.products.dataset import Dataset
from isles_assets.publication.waivers import read_waivers
from isles_assets.reading.tree import Inventory, take_inventory
from isles_assets.release.release import Release
from isles_assets.release.waivers import Waiver
from isles_assets.settings.setup import Setup
from isles_assets.tables.folder import DataFolder

_SUFFIX = "-pilot"


def pilot_setup(setup: Setup, subjects: Iterable[str]) -> Setup:
    """Return the setup of a pilot: the part of the release, a data folder and a repo of its own, the same tree.

    Raises:
        Refusal: The release does not have one of `subjects`.
    """
    part = setup.dataset.release.only(subjects)
    whole = setup.folder
    folder = DataFolder(whole.pilot, part, waivers_file=whole.waivers, release_root=whole.root)
    return replace(setup, dataset=Dataset.of(part), folder=folder, repo=f"{setup.repo}{_SUFFIX}")


def choose_subjects(setup: Setup, subjects: Sequence[str] = ()) -> tuple[str, ...]:
    """Return `subjects`; if there are none, the smallest, the largest and one with a waiver, in the release's order.

    Raises:
        Refusal: There is no tree yet, or it cannot be used.
    """
    release = setup.dataset.release
    if setup.uses_zenodo and not setup.tree.exists():
        mend = "materialize archive_listing, zenodo_archive and raw_tree first; or set ISLES_RAW_ROOT to a tree"
        raise Refusal.of("There is no pilot.", "is not extracted yet", mend, path=setup.tree)
    inventory = take_inventory(release, setup.tree)
    if subjects:
        return tuple(subjects)
    waivers = [*release.waivers, *read_waivers(setup.folder.waivers)]
    return _typical(release, inventory, waivers)


def _typical(release: Release, inventory: Inventory, waivers: Iterable[Waiver]) -> tuple[str, ...]:
    sizes = {
        subject: sum(inventory[path].size for path in release.subject_paths(subject) if path in inventory)
        for subject in release.subjects
    }
    waived = (waiver.subject for waiver in waivers if waiver.release == release.version and waiver.subject in sizes)
    chosen = {min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__), *itertools.islice(waived, 1)}
    return tuple(subject for subject in release.subjects if subject in chosen)
