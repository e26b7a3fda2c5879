"""The asset `hub_dataset`: the published dataset, made of all products of all subjects."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from isles_assets.graph import reporting
from isles_assets.graph.assets import subject_manifest
from isles_assets.graph.automation import when_complete
from isles_assets.graph.report_asset import PRIORITY
from isles_assets.graph.reporting import RETRIES, fail_faults_at_once, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.hub.publishing import publish
from isles_assets.hub.rehearsal import rehearse
from isles_assets.lib.findings import summarize
from isles_assets.lib.fingerprint import fingerprint
from isles_assets.lib.words import counted
from isles_assets.products.dataset import Dataset
from isles_assets.publication import card
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.guard import keep_sample_from_hub, keep_undecoded_from_hub, publication_of


class PublishConfig(dg.Config):
    """How to publish."""

    dry_run: bool = Field(
        False,
        description="Do everything except publish. The log, and an observation among the asset's events, then show the "
        "changes that publishing would make at the target; the observation also shows the card.",
    )
    private: bool = Field(
        False, description="Make a new repo private, and refuse to publish to a public one. For rehearsals."
    )
    take_over: str = Field(
        "",
        description="The full id of the commit at which `main` holds somebody else's files: replace these. That commit "
        "is tagged first, so job rollback can return to it.",
    )
    allow_synthetic: bool = Field(False, description="Allow a synthetic sample on the Hub. It is marked as synthetic.")


def hub_asset(of: Dataset) -> dg.AssetsDefinition:
    """Return the asset that publishes the products of the dataset `of`."""
    all_partitions = dg.AllPartitionMapping()
    product_deps = [dg.AssetDep(product.asset, partition_mapping=all_partitions) for product in of.products]

    @dg.asset(
        deps=[subject_manifest, *product_deps],
        output_required=False,
        retry_policy=dg.RetryPolicy(max_retries=RETRIES, delay=30, backoff=dg.Backoff.EXPONENTIAL),
        automation_condition=when_complete(of.release),
        pool="publishing",
        op_tags={"dagster/priority": str(PRIORITY - 1)},  # the report is made before
        kinds={"huggingface"},
        code_version=f"{card.CODE_VERSION}.{fingerprint([product.version for product in of.products])}",
    )
    def hub_dataset(
        context: dg.AssetExecutionContext, config: PublishConfig, settings: Settings, dataset: DatasetParam
    ) -> Iterator[dg.MaterializeResult]:
        """The published dataset: the shards and previews of all {subjects} subjects and the card, all or nothing.

        This asset refuses to publish, before it changes the target, if a blocking property does not hold or a shard or
        preview is missing or stale. (Failed checks stop later assets in their own run only.) A dry run
        (`dry_run: true` in the run config) materializes nothing. The log and this asset's events then show what
        publishing would change.

        To make everything, run job `build`: it takes one run and is quicker than **Materialize all**.
        """
        with refusals_reported(), fail_faults_at_once():
            setup = settings.setup(dataset)
            target = setup.target(private=config.private, take_over=config.take_over, log=context.log.info)
            publication = publication_of(dataset, setup.tree, setup.folder, setup.repo)
            if setup.publishes_to_hub:
                keep_sample_from_hub(setup.repo, publication.sidecars, allowed=config.allow_synthetic)
                keep_undecoded_from_hub(Evidence(setup.tree, setup.folder), publication)
            context.log.info(f"Found {counted(len(publication.subjects), 'subject')}")
            metadata = reporting.of_publication(publication) | reporting.of_report_file(setup.folder)
            if config.dry_run:
                rehearsal = rehearse(target, publication, setup.folder)
                metadata |= reporting.of_rehearsal(rehearsal)
                context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
                if rehearsal.foreign:
                    context.log.warning("\n  ".join(["In the way of publishing:", *summarize(rehearsal.foreign)]))
                lines = [f"{name}: {change}" for name, change in rehearsal.rows()]
                context.log.info("\n  ".join(["Dry run complete. Dataset built but not pushed. Publishing:", *lines]))
                return
            published = publish(target, publication, setup.folder)
        context.log.info(f"{'Published' if published.changed else 'Nothing has changed:'} {published.url}")
        metadata |= reporting.of_published(published, target.location)
        yield dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(publication.digest))

    return hub_dataset
