"""The assets of the whole release, in the order of the graph. Each hands over through files of the data folder.

Those of each subject are in `product_assets`, what is published in `hub_dataset`. Braces in a description are filled
in by `definitions` from the release.
"""

import dagster as dg
from pydantic import Field

from isles_assets.graph import reporting
from isles_assets.graph.reporting import refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.graph.setup import ListingQuestion, Setup
from isles_assets.lib.files import sha256_of
from isles_assets.lib.words import counted
from isles_assets.products.building import MAX_LOCAL_SUBJECTS
from isles_assets.publication.guard import keep_release_from_sample
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.sample.tree import make_sample
from isles_assets.source.arrival import fetch, unpack
from isles_assets.tables import clinical, manifest
from isles_assets.tables.digests import read_digests, write_digests
from isles_assets.tables.inventory import read_inventory, write_inventory
from isles_assets.tables.listing import obtain_listing, read_listing, workbook_findings, write_listing
from isles_assets.tables.storage import write_table


class ArchiveConfig(dg.Config):
    """How to fetch the archive."""

    free_disk: bool = Field(
        False, description="Do not ask for a disk that can hold all shards: subject_shard, too, runs with free_disk."
    )


@dg.asset(kinds={"zenodo", "7z", "parquet"}, code_version="1")
def archive_listing(
    context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam
) -> dg.MaterializeResult:
    """What is in the release's archive by its own header: path, size, CRC-32, time, method and block of every file.

    Of the archive on the disk, or asked of Zenodo by ranges, at most 2 MB, and kept; `ISLES_LISTING=off` switches the
    question off. A synthetic tree has a listing of its own. Names are compared before anything is downloaded, and files
    with it when they are read.
    """
    with refusals_reported():
        setup = settings.setup(dataset)
        _see_to_sample(context, setup)
        may_ask = setup.listing is ListingQuestion.on and not setup.uses_sample
        zenodo = setup.zenodo(context.log.info) if may_ask else None
        listing = obtain_listing(setup.folder, setup.tree, zenodo)
        table = write_listing(setup.folder, listing)
    if listing.why_not:
        context.log.warning(f"There is no listing, and the tree is {listing.compared('')}")
    else:
        context.log.info(f"The archive lists {counted(len(listing.members), 'file')}, by {listing.origin}")
    return _materialized(reporting.of_archive_listing(setup.folder, listing, table), sha256_of(setup.folder.listing))


@dg.asset(deps=[archive_listing], kinds={"zenodo", "7z"}, code_version="1")
def zenodo_archive(
    context: dg.AssetExecutionContext, config: ArchiveConfig, settings: Settings, dataset: DatasetParam
) -> dg.MaterializeResult:
    """The pinned archive of the release, downloaded from Zenodo: resumed after any break, size and MD5 verified.

    Fetches nothing unless `ISLES_SOURCE` is `zenodo`, nor while the tree that was extracted from it is there. A
    newer version on Zenodo is reported, never taken.
    """
    with refusals_reported():
        setup, record = settings.setup(dataset), dataset.release.record
        if not setup.uses_zenodo:
            how = f"not needed: the tree comes from {setup.origin}, {setup.tree}"
            return _materialized({"how": how}, "not needed")
        zenodo = setup.zenodo(context.log.info)
        if newest := zenodo.newer(record):
            context.log_event(dg.AssetObservation(context.asset_key, metadata=reporting.of_newer_version(newest)))
            context.log.warning(
                f"Zenodo has a version after {record.version}, which is pinned and used: "
                f"{newest.version} of {newest.date}, {newest.url}"
            )
        share = MAX_LOCAL_SUBJECTS if config.free_disk else len(dataset.release.subjects)
        shards = record.size * share // len(dataset.release.subjects)
        how = fetch(dataset.release, setup.places, zenodo, shards=shards)
    context.log.info(f"{record.archive}: {how}")
    return _materialized(reporting.of_archive(setup.folder, how), record.md5)


@dg.asset(deps=[zenodo_archive], kinds={"nifti", "parquet"}, code_version="1")
def raw_tree(context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam) -> dg.MaterializeResult:
    """The extracted release, inventoried: path, size and modification time of every file.

    With `ISLES_RAW_ROOT` unset it is extracted from `zenodo_archive`, or a synthetic sample of all {subjects} subjects
    is made, as `ISLES_SOURCE` says; once.
    """
    with refusals_reported():
        setup = settings.setup(dataset)
        _see_to_sample(context, setup)
        if setup.uses_zenodo:
            unpack(dataset.release, setup.places, workers=setup.workers, log=context.log.info)
        inventory = take_inventory(dataset.release, setup.tree)
        table = write_inventory(setup.folder, inventory)
        compared = read_listing(setup.folder, setup.tree).compared("files by name and size")
    context.log.info(f"Found {counted(len(inventory), 'file')} in {setup.tree}")
    return _materialized(reporting.of_raw_tree(setup, inventory, table, compared), sha256_of(setup.folder.raw_tree))


@dg.asset(deps=[raw_tree], kinds={"excel", "parquet"}, code_version="1")
def clinical_table(
    context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam
) -> dg.MaterializeResult:
    """The clinical workbooks as one typed table: a row a subject, {variables} variables, missing is null."""
    with refusals_reported():
        setup, release = settings.setup(dataset), dataset.release
        inventory = read_inventory(setup.folder)
        there = {path for path, file in inventory.items() if not file.fault}
        with_workbooks = [s for s in release.subjects if any(w.path(s) in there for w in release.workbooks)]
        rows = read_clinical_rows(release, setup.tree, with_workbooks)
        table = clinical.clinical_table(release, rows)
        listing = read_listing(setup.folder, setup.tree)
        extracted = setup.folder.has_extracted(setup.tree)
        others = workbook_findings(release, setup.tree, rows, listing, extracted=extracted)
        clinical.write_clinical_findings(setup.folder, rows, others)
        write_table(setup.folder.clinical, table)
    variables = counted(len(release.variables), "clinical variable")
    context.log.info(f"Read {variables} of {counted(len(rows), 'subject')}")
    compared = listing.compared("workbooks by CRC-32")
    shown = reporting.of_clinical_table(setup.folder, rows, table, compared)
    return _materialized(shown, sha256_of(setup.folder.clinical))


class ManifestConfig(dg.Config):
    """How to take stock."""

    full: bool = Field(
        False,
        description="Read every volume for its SHA-256 instead of trusting size and time: finds files that changed "
        "without a trace, and spares shards whose files were only touched or copied. What it found stays known while "
        "size and time agree; a file that was replaced, copied or written into since is read again.",
    )


@dg.asset(deps=[raw_tree, clinical_table], kinds={"nifti", "parquet"})
def subject_manifest(
    context: dg.AssetExecutionContext, config: ManifestConfig, settings: Settings, dataset: DatasetParam
) -> dg.MaterializeResult:
    """One row a subject: its {volumes} volumes with path, size, shape, spacing, dtype, affine; its clinical values.

    Made from file attributes and headers; no voxel is read, and no header of a file that is as it was.
    """
    with refusals_reported():
        setup = settings.setup(dataset)
        digests = read_digests(setup.folder, ignore_damage=config.full)
        rows = manifest.survey(
            dataset.release,
            setup.tree,
            read_inventory(setup.folder),
            clinical.clinical_values(clinical.read_clinical_table(setup.folder, strict=True)),
            manifest.read_previous_manifest(setup.folder),
            digests=digests,
            crc32s=read_listing(setup.folder).crc32s,
            full=config.full,
            workers=setup.workers,
            log=context.log.info,
        )
        write_digests(setup.folder, digests)
        table = manifest.manifest_table(dataset.release, rows)
        write_table(setup.folder.manifest, table)
    volumes = counted(sum(len(row.volumes) for row in rows), "volume")
    context.log.info(f"Surveyed {volumes} of {counted(len(rows), 'subject')}")
    return _materialized(reporting.of_subject_manifest(setup.folder, rows, table), sha256_of(setup.folder.manifest))


def _see_to_sample(context: dg.AssetExecutionContext, setup: Setup) -> None:
    """See that the sample is there if it is to stand in for the release: made once, with its listing."""
    if setup.uses_sample:
        keep_release_from_sample(setup.folder)
        if not setup.tree.exists():
            context.log.info(f"Making the SYNTHETIC sample in {setup.tree}, as no raw_root is set")
            make_sample(setup.dataset.release, setup.tree, workers=setup.workers)


def _materialized(metadata: reporting.Metadata, version: str) -> dg.MaterializeResult:
    """Same version of the data, such as its bytes' digest: what is downstream is stale only if that has changed."""
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(version))
