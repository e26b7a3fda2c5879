"""The assets, in the order of the graph. Each hands over through files of the data folder."""

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster as dg
from pydantic import Field

from isles_assets.graph import reporting
from isles_assets.graph.automation import when_complete
from isles_assets.graph.outcomes import materialize_each, wanted_rows
from isles_assets.graph.partitions import partitions_per_run, subjects
from isles_assets.graph.reporting import refusals_reported
from isles_assets.graph.resources import Settings
from isles_assets.lib.files import sha256_of
from isles_assets.products.building import (
    STAGED_TOGETHER,
    build_previews,
    build_shards,
    complete_previews,
    complete_shards,
)
from isles_assets.products.features import annotated_schema
from isles_assets.products.preview.preview import PREVIEW_VERSION
from isles_assets.products.schema import CONFIGS
from isles_assets.products.shard import FORMAT_VERSION
from isles_assets.publication.card import CARD_VERSION
from isles_assets.publication.guard import keep_release_from_sample, keep_sample_from_hub, publication_of
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.release.clinical import VARIABLES, WORKBOOKS
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.sample.tree import make_sample
from isles_assets.source.arrival import fetch, unpack
from isles_assets.tables import manifest
from isles_assets.tables import storage as tables

GROUP = "isles24"


class ArchiveConfig(dg.Config):
    """How to fetch the archive."""

    free_disk: bool = Field(
        False, description="Do not ask for a disk that can hold all shards: subject_shard, too, runs with free_disk."
    )


@dg.asset(group_name=GROUP, kinds={"zenodo", "7z"}, code_version="1")
def zenodo_archive(
    context: dg.AssetExecutionContext, config: ArchiveConfig, settings: Settings
) -> dg.MaterializeResult:
    """The pinned archive of the release, downloaded from Zenodo: resumed after any break, size and MD5 verified.

    Fetches nothing unless `ISLES_SOURCE` is `zenodo`, nor while the tree that was extracted from it is there. A
    newer version on Zenodo is reported, never taken.
    """
    with refusals_reported():
        if not settings.uses_zenodo:
            facts = reporting.of_no_archive(settings)
            return dg.MaterializeResult(metadata=facts, data_version=dg.DataVersion("not needed"))
        zenodo = settings.zenodo(context.log.info)
        newest = zenodo.newer(settings.release)
        if newest:
            facts = reporting.of_newer_version(newest)
            context.log_event(dg.AssetObservation(context.asset_key, metadata=facts))
            context.log.warning(
                f"Zenodo has a version after {settings.release.version}, which is pinned and used: "
                f"{newest.version} of {newest.date}, {newest.url}"
            )
        shards = settings.release.size
        if config.free_disk:
            shards = shards * STAGED_TOGETHER // len(SUBJECT_IDS)
        how = fetch(settings.release, settings.places, zenodo, shards=shards, say=context.log.info)
    context.log.info(f"{settings.release.archive}: {how}")
    return dg.MaterializeResult(
        metadata=reporting.of_archive(settings, how), data_version=dg.DataVersion(settings.release.md5)
    )


@dg.asset(deps=[zenodo_archive], group_name=GROUP, kinds={"nifti", "parquet"}, code_version="1")
def raw_tree(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """The extracted release, inventoried: path, size and modification time of every file.

    With `ISLES_RAW_ROOT` unset it is extracted from `zenodo_archive`, or a synthetic sample of all 149 subjects is
    made, as `ISLES_SOURCE` says; once.
    """
    with refusals_reported():
        if settings.uses_sample:
            keep_release_from_sample(settings.folder)
            context.log.warning(f"No raw_root is set: using the SYNTHETIC sample in {settings.tree}")
            if not settings.tree.exists():
                make_sample(settings.tree, workers=settings.processes)
        elif settings.uses_zenodo:
            unpack(settings.release, settings.places, workers=settings.processes, say=context.log.info)
        inventory = take_inventory(settings.tree)
        table = tables.write_inventory(settings.folder, inventory)
    context.log.info(f"Found {len(inventory)} files in {settings.tree}")
    return _materialized(settings.folder.raw_tree, reporting.of_raw_tree(settings, inventory, table))


@dg.asset(deps=[raw_tree], group_name=GROUP, kinds={"excel", "parquet"}, code_version="1")
def clinical_table(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """The clinical workbooks as one typed table: a row a subject, 33 variables, missing is null."""
    with refusals_reported():
        inventory = tables.read_inventory(settings.folder)
        with_workbooks = [s for s in SUBJECT_IDS if any(w.path(s) in inventory for w in WORKBOOKS)]
        rows = read_clinical_rows(settings.tree, with_workbooks)
        table = tables.clinical_table(rows)
        tables.write_table(settings.folder.clinical, table)
    context.log.info(f"Read {len(VARIABLES)} clinical variables of {len(rows)} subjects")
    return _materialized(settings.folder.clinical, reporting.of_clinical_table(settings, rows, table))


class ManifestConfig(dg.Config):
    """How to take stock."""

    full: bool = Field(
        False,
        description="Read every volume for its SHA-256 instead of trusting size and time: finds files that changed "
        "without a trace, and spares shards whose files were only touched or copied.",
    )


@dg.asset(
    deps=[raw_tree, clinical_table],
    group_name=GROUP,
    kinds={"nifti", "parquet"},
    code_version=str(manifest.MANIFEST_VERSION),
)
def subject_manifest(
    context: dg.AssetExecutionContext, config: ManifestConfig, settings: Settings
) -> dg.MaterializeResult:
    """One row a subject: its 18 volumes with path, size, shape, spacing, dtype and affine, and its clinical values.

    Made from file attributes and headers; no voxel is read, and no header of a file that is as it was.
    """
    with refusals_reported():
        inventory = tables.read_inventory(settings.folder)
        clinical = tables.clinical_values(tables.read_clinical_table(settings.folder))
        rows = manifest.survey(
            settings.tree,
            inventory,
            clinical,
            manifest.read_previous_manifest(settings.folder),
            full=config.full,
            workers=settings.processes,
            say=context.log.info,
        )
        table = manifest.manifest_table(rows)
        tables.write_table(settings.folder.manifest, table)
    context.log.info(f"Surveyed {sum(len(row.volumes) for row in rows)} volumes of {len(rows)} subjects")
    return _materialized(settings.folder.manifest, reporting.of_subject_manifest(settings, rows, table))


class ShardConfig(dg.Config):
    """How to build shards."""

    decode: bool = Field(
        True,
        description="Decode every volume on its way: gzip CRC and length, header, grid, voxels. Switched off for a "
        "quick run, shards are packed unlooked at, and the check `volumes_decoded` says so.",
    )
    free_disk: bool = Field(
        False,
        description="For a disk that cannot hold all shards: stage each ten subjects on the Hub, where no reader of "
        "`main` sees them, and remove them here. Needs hub_target huggingface.",
    )
    private: bool = Field(False, description="With free_disk: if the repo has to be made, make it private.")
    allow_synthetic: bool = Field(False, description="With free_disk: stage a synthetic sample.")


with warnings.catch_warnings(action="ignore", category=dg.BetaWarning):  # for backfill_policy

    @dg.asset(
        deps=[subject_manifest],
        partitions_def=subjects,
        backfill_policy=partitions_per_run(),
        group_name=GROUP,
        kinds={"parquet"},
        code_version=str(FORMAT_VERSION),
    )
    def subject_shard(context: dg.AssetExecutionContext, config: ShardConfig, settings: Settings) -> None:
        """A subject's row as Parquet, one file a config: the release's bytes, every volume read and verified.

        A subject that cannot be packed does not stop the others.
        """
        with refusals_reported():
            rows = wanted_rows(context, settings.folder)
            stage = None
            if config.free_disk:
                keep_sample_from_hub(settings.repo, rows, allowed=config.allow_synthetic)
                stage = settings.stage(private=config.private, say=context.log.info)
        materialize_each(
            context,
            rows,
            build=partial(
                build_shards,
                settings.tree,
                settings.folder,
                schemas={c.name: annotated_schema(c) for c in CONFIGS},
                workers=settings.processes,
                say=context.log.info,
                decode=config.decode,
                stage=stage,
            ),
            complete=partial(complete_shards, settings.folder, decode=config.decode),
            describe=partial(reporting.of_shard, settings),
        )

    @dg.asset(
        deps=[subject_manifest],
        partitions_def=subjects,
        backfill_policy=partitions_per_run(),
        group_name=GROUP,
        kinds={"image", "parquet"},
        code_version=str(PREVIEW_VERSION),
    )
    def subject_preview(context: dg.AssetExecutionContext, settings: Settings) -> None:
        """Small pictures and facts of a subject, for a look before publishing and for the Hub's viewer.

        A subject that cannot be drawn does not stop the others.
        """
        with refusals_reported():
            rows = wanted_rows(context, settings.folder)
        materialize_each(
            context,
            rows,
            build=partial(
                build_previews, settings.tree, settings.folder, workers=settings.processes, say=context.log.info
            ),
            complete=partial(complete_previews, settings.folder),
            describe=partial(reporting.of_preview, settings),
        )


class PublishConfig(dg.Config):
    """How to publish."""

    dry_run: bool = Field(False, description="Do all but the publishing, and say what would be published.")
    private: bool = Field(False, description="If the repo has to be made, make it private: a rehearsal.")
    allow_synthetic: bool = Field(False, description="Publish a synthetic sample to the Hub, marked as such.")


@dg.asset(
    deps=[
        subject_manifest,
        dg.AssetDep(subject_shard, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(subject_preview, partition_mapping=dg.AllPartitionMapping()),
    ],
    output_required=False,
    retry_policy=dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL),  # refusals are not retried
    automation_condition=when_complete,
    pool="publishing",
    group_name=GROUP,
    kinds={"huggingface"},
    code_version=f"{CARD_VERSION}.{FORMAT_VERSION}.{PREVIEW_VERSION}",
)
def hub_dataset(
    context: dg.AssetExecutionContext, config: PublishConfig, settings: Settings
) -> Iterator[dg.MaterializeResult]:
    """The published dataset: the shards and previews of all 149 subjects and the card, all or nothing.

    Refuses by itself, before the target is touched, if a blocking property does not hold or a shard or preview is
    missing or stale, because checks stop what is downstream in their own run only. A dry run materializes nothing.
    """
    with refusals_reported():
        target = settings.target(private=config.private, say=context.log.info)
        publication = publication_of(settings.tree, settings.folder, settings.repo)
        if settings.publishes_to_hub:
            keep_sample_from_hub(settings.repo, publication.records.values(), allowed=config.allow_synthetic)
        context.log.info(f"Found {len(publication.subjects)} subjects")
        if config.dry_run:
            facts = reporting.of_publication(publication)
            context.log_event(dg.AssetObservation(context.asset_key, metadata=facts))
            context.log.info("Dry run complete. Dataset built but not pushed.")
            return
        published = target.publish(publication)
    context.log.info(f"{'Published' if published.changed else 'Nothing has changed:'} {published.url}")
    facts = reporting.of_publication(publication) | reporting.of_published(published, target.location)
    yield dg.MaterializeResult(metadata=facts, data_version=dg.DataVersion(publication.digest))


def _materialized(table: Path, metadata: reporting.Metadata) -> dg.MaterializeResult:
    """Same bytes, same data version: what is downstream is stale only if the table has changed."""
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(sha256_of(table)))
