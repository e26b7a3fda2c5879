"""The assets of the whole release, in the order of the graph. They pass data on as files in the data folder.

`product_assets` has the assets of each subject, `hub_asset` the published dataset. `definitions` fills in braces in
descriptions from the release.
"""

import dagster as dg
from pydantic import Field

from isles_assets.graph import reporting
from isles_assets.graph.reporting import refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.files import sha256_of
from isles_assets.lib.words import counted
from isles_assets.products.building import MAX_LOCAL_SUBJECTS
from isles_assets.publication.guard import keep_release_from_sample
from isles_assets.reading.tree import take_inventory
from isles_assets.sample.tree import make_sample
from isles_assets.settings.setup import ListingQuestion, Setup
from isles_assets.source.arrival import fetch, unpack
from isles_assets.tables.inventory import write_inventory
from isles_assets.tables.listing import obtain_listing, read_listing, write_listing
from isles_assets.tables.stock import take_clinical_stock, take_manifest_stock


class ArchiveConfig(dg.Config):
    """How to fetch the archive."""

    free_disk: bool = Field(
        False,
        description="Require disk space for a few shards only. For runs in which subject_shard has free_disk, too.",
    )


@dg.asset(kinds={"zenodo", "7z", "parquet"}, code_version="1")
def archive_listing(
    context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam
) -> dg.MaterializeResult:
    """The contents of the release's archive, from its header: path, size, CRC-32, time, method and block of each file.

    The header is read from the archive on this disk, or else from Zenodo: at most 2 MB, once. `ISLES_LISTING=off`
    forbids requests to Zenodo. A synthetic tree has its own listing. File names are checked before the download, and
    files are compared with the listing when they are read.
    """
    with refusals_reported():
        setup = settings.setup(dataset)
        make_missing_sample(context, setup)
        may_ask_zenodo = setup.listing is ListingQuestion.on and not setup.uses_sample
        zenodo = setup.zenodo(context.log.info) if may_ask_zenodo else None
        listing = obtain_listing(setup.folder, setup.tree, zenodo)
        table = write_listing(setup.folder, listing)
    if listing.why_not:
        context.log.warning(f"There is no listing. The tree is {listing.compared('')}")
    else:
        context.log.info(f"The archive lists {counted(len(listing.members), 'file')}, by {listing.origin}")
    return _materialized(reporting.of_archive_listing(setup.folder, listing, table), sha256_of(setup.folder.listing))


@dg.asset(deps=[archive_listing], kinds={"zenodo", "7z"}, code_version="1")
def zenodo_archive(
    context: dg.AssetExecutionContext, config: ArchiveConfig, settings: Settings, dataset: DatasetParam
) -> dg.MaterializeResult:
    """The pinned archive of the release, downloaded from Zenodo. Downloads resume; size and MD5 are verified.

    Nothing is downloaded unless `ISLES_SOURCE` is `zenodo`, or if the extracted tree exists. A newer version on Zenodo
    is reported, but never downloaded.
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
                f"Zenodo has a newer version: {newest.version} of {newest.date}, {newest.url}. "
                f"The pinned version {record.version} is used."
            )
        subjects = len(dataset.release.subjects)
        subjects_on_disk = MAX_LOCAL_SUBJECTS if config.free_disk else subjects
        shard_bytes = record.size * subjects_on_disk // subjects
        how = fetch(dataset.release, setup.places, zenodo, shards=shard_bytes)
    context.log.info(f"{record.archive}: {how}")
    return _materialized(reporting.of_archive(setup.folder, how), record.md5)


@dg.asset(deps=[zenodo_archive], kinds={"nifti", "parquet"}, code_version="1")
def raw_tree(context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam) -> dg.MaterializeResult:
    """The inventory of the extracted release: path, size and modification time of every file.

    If `ISLES_RAW_ROOT` is unset, `ISLES_SOURCE` decides where a missing tree comes from: `zenodo` extracts it from
    `zenodo_archive`, `sample` makes a synthetic sample of all {subjects} subjects.
    """
    with refusals_reported():
        setup = settings.setup(dataset)
        make_missing_sample(context, setup)
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
    """The clinical workbooks as one typed table: one row per subject, {variables} variables, missing values null."""
    with refusals_reported():
        setup = settings.setup(dataset)
        rows, table, listing = take_clinical_stock(setup.folder, setup.tree)
    variables = counted(len(dataset.release.variables), "clinical variable")
    context.log.info(f"Read {variables} of {counted(len(rows), 'subject')}")
    compared = listing.compared("workbooks by CRC-32")
    metadata = reporting.of_clinical_table(setup.folder, rows, table, compared)
    return _materialized(metadata, sha256_of(setup.folder.clinical))


class ManifestConfig(dg.Config):
    """How to survey the tree."""

    full: bool = Field(
        False,
        description="Read every volume to compute its SHA-256, instead of relying on size and modification time. This "
        "finds changes that leave both as they were, and avoids rebuilding shards of files that were only touched or "
        "copied. Each digest is kept until its file is replaced, copied or written to.",
    )


@dg.asset(deps=[raw_tree, clinical_table], kinds={"nifti", "parquet"})
def subject_manifest(
    context: dg.AssetExecutionContext, config: ManifestConfig, settings: Settings, dataset: DatasetParam
) -> dg.MaterializeResult:
    """One row per subject: path, size, shape, spacing, dtype and affine of its {volumes} volumes; its clinical values.

    It is made from file attributes and headers, without reading voxels. Headers of unchanged files are not read again.
    """
    with refusals_reported():
        setup = settings.setup(dataset)
        rows, table = take_manifest_stock(
            setup.folder, setup.tree, full=config.full, workers=setup.workers, log=context.log.info
        )
    volumes = counted(sum(len(row.volumes) for row in rows), "volume")
    context.log.info(f"Surveyed {volumes} of {counted(len(rows), 'subject')}")
    return _materialized(reporting.of_subject_manifest(setup.folder, rows, table), sha256_of(setup.folder.manifest))


def make_missing_sample(context: dg.OpExecutionContext | dg.AssetExecutionContext, setup: Setup) -> None:
    """Make the sample and its listing, if it is the source of this run and does not exist."""
    if setup.uses_sample:
        keep_release_from_sample(setup.folder)
        if not setup.tree.exists():
            context.log.info(f"Making the SYNTHETIC sample in {setup.tree}, because raw_root is unset")
            make_sample(setup.dataset.release, setup.tree, workers=setup.workers)


def _materialized(metadata: reporting.Metadata, version: str) -> dg.MaterializeResult:
    """Return a result with the data's `version`, such as a digest. Only another version makes later assets stale."""
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(version))
