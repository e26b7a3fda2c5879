"""The steps of a pilot: tables and products of its subjects, their publication, and its verification."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isles_assets.hub import publishing
from isles_assets.hub.target import Published, Target
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.products.building import build_subjects, read_sidecars
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import Build
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.guard import (
    keep_sample_from_hub,
    keep_undecoded_from_hub,
    publication_of,
    recorded_publication,
)
from isles_assets.publication.publication import Publication
from isles_assets.reading.tree import take_inventory
from isles_assets.settings.setup import ListingQuestion, Setup
from isles_assets.tables.inventory import write_inventory
from isles_assets.tables.listing import Listing, obtain_listing, read_listing, write_listing
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.stock import take_clinical_stock, take_manifest_stock

Log = Callable[[str], None]


@dataclass(frozen=True)
class Packed:
    """What was made of a pilot's subjects."""

    source_bytes: Mapping[str, int]
    """Bytes of a subject's volumes, by subject."""
    product_bytes: Mapping[str, int]
    """Bytes of its shards and previews."""
    seconds: Mapping[str, float]
    """Seconds by step: `tables`, and each product."""


def make_products(whole: Setup, pilot: Setup, *, log: Log) -> Packed:
    """Make tables and products of the pilot's subjects. Files of other subjects, of an earlier pilot, are removed.

    Args:
        whole: The setup of the whole release, whose listing is used if there is one.

    Raises:
        Refusal: The tree cannot be used, or a product could not be made.
    """
    start = time.monotonic()
    remove_others(pilot)
    rows = _take_stock(whole, pilot, log)
    seconds = {"tables": time.monotonic() - start}
    made: dict[str, int] = dict.fromkeys(pilot.dataset.release.subjects, 0)
    for product in pilot.dataset.products:
        start = time.monotonic()
        log(f"Making {product.plural}")
        schemas = {config.name: annotated_schema(config) for config in product.configs}
        build = Build(pilot.tree, pilot.folder, schemas)
        for outcome in build_subjects(product, build, rows, workers=pilot.workers, log=log):
            if isinstance(outcome.result, Exception):
                raise outcome.result
            made[outcome.subject] += outcome.result.size
        seconds[product.plural] = time.monotonic() - start
    sources = {row.subject: sum(entry.size for entry in row.volumes.values() if entry) for row in rows}
    return Packed(sources, made, seconds)


def _take_stock(whole: Setup, pilot: Setup, log: Log) -> list[ManifestRow]:
    write_listing(pilot.folder, _listing(whole, pilot))
    write_inventory(pilot.folder, take_inventory(pilot.dataset.release, pilot.tree))
    take_clinical_stock(pilot.folder, pilot.tree)
    return take_manifest_stock(pilot.folder, pilot.tree, workers=pilot.workers, log=log)[0]


def _listing(whole: Setup, pilot: Setup) -> Listing:
    """Return the stored listing of the whole release; if there is none, obtain it."""
    stored = read_listing(whole.folder, whole.tree)
    if not stored.why_not:
        return stored
    may_ask = pilot.listing is ListingQuestion.on and not pilot.uses_sample
    return obtain_listing(pilot.folder, pilot.tree, pilot.zenodo() if may_ask else None)


def remove_others(pilot: Setup) -> None:
    """Remove the products of subjects that are not in this pilot."""
    folder, subjects = pilot.folder, pilot.dataset.release.subjects
    for product in pilot.dataset.products:
        for sidecar in read_sidecars(product, folder):
            if sidecar.subject not in subjects:
                product.sidecar_path(folder, sidecar.subject).unlink()
                for config in product.configs:
                    product.path(folder, config, sidecar.subject).unlink(missing_ok=True)


def publish(pilot: Setup, target: Target, *, allow_synthetic: bool) -> tuple[Publication, Published]:
    """Publish the pilot's products to `target`.

    Args:
        allow_synthetic: A synthetic sample may go to the Hub.

    Raises:
        Refusal: The products or the target do not allow it.
    """
    publication = publication_of(pilot.dataset, pilot.tree, pilot.folder, pilot.repo)
    if pilot.publishes_to_hub:
        keep_sample_from_hub(pilot.repo, publication.sidecars, allowed=allow_synthetic)
        keep_undecoded_from_hub(Evidence(pilot.tree, pilot.folder), publication)
    return publication, publishing.publish(target, publication, pilot.folder)


def verify(pilot: Setup, log: Log) -> list[Finding]:
    """Return findings of the checks of the published dataset: every file read back, and every config loaded.

    Raises:
        Refusal: It cannot be read.
    """
    publication = recorded_publication(pilot.dataset, pilot.folder, pilot.repo)
    target = pilot.target().pinned()
    subjects = pilot.dataset.release.subjects
    return [
        *remote_matches_local(target, publication, subjects=subjects, log=log),
        *card_valid(target, publication),
        *loads(target, publication),
    ]


def check_verified(pilot: Setup, findings: list[Finding]) -> None:
    """Raise `Refusal` if there are findings."""
    if findings:
        raise Refusal(f"{pilot.repo} is not what was to be published.", findings)


def remove_products(pilot: Setup) -> None:
    """Remove all that the pilot made on this disk, but not what it published to a folder."""
    for path in pilot.folder.root.iterdir():
        if path != pilot.folder.hub:
            shutil.rmtree(path)
