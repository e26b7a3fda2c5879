"""The asset `hub_dataset`: what is published of all products of all subjects."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from isles_assets.graph import reporting
from isles_assets.graph.assets import subject_manifest
from isles_assets.graph.automation import when_complete
from isles_assets.graph.report_asset import PRIORITY
from isles_assets.graph.reporting import RETRIES, faults_not_retried, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.hub.rehearsal import rehearse
from isles_assets.lib.findings import summarize
from isles_assets.lib.fingerprint import fingerprint
from isles_assets.lib.words import counted
from isles_assets.products.building import update_noted_status
from isles_assets.products.dataset import Dataset
from isles_assets.publication import card
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.guard import keep_sample_from_hub, keep_undecoded_from_hub, publication_of


class PublishConfig(dg.Config):
    """How to publish."""

    dry_run: bool = Field(
        False,
        description="Do all but the publishing, and say what that would change at the target: in the log, and as an "
        "observation among the asset's events, with the card.",
    )
    private: bool = Field(
        False, description="Make the repo private if it has to be made, and refuse a public one: a rehearsal."
    )
    take_over: str = Field(
        "",
        description="The commit at which `main` holds somebody else's files, in full: publish in their place. That "
        "commit is tagged first, and job rollback can return to it.",
    )
    allow_synthetic: bool = Field(False, description="Publish a synthetic sample to the Hub, marked as such.")


def hub_asset(of: Dataset) -> dg.AssetsDefinition:
    """The asset that publishes the products of the dataset `of`."""
    everything = [dg.AssetDep(product.asset, partition_mapping=dg.AllPartitionMapping()) for product in of.products]

    @dg.asset(
        deps=[subject_manifest, *everything],
        output_required=False,
        retry_policy=dg.RetryPolicy(max_retries=RETRIES, delay=30, backoff=dg.Backoff.EXPONENTIAL),  # of what may pass
        automation_condition=when_complete(of.release),
        pool="publishing",
        op_tags={"dagster/priority": str(PRIORITY - 1)},  # a person finds the report beside what is published
        kinds={"huggingface"},
        code_version=f"{card.CODE_VERSION}.{fingerprint([product.version for product in of.products])}",
    )
    def hub_dataset(
        context: dg.AssetExecutionContext, config: PublishConfig, settings: Settings, dataset: DatasetParam
    ) -> Iterator[dg.MaterializeResult]:
        """The published dataset: the shards and previews of all {subjects} subjects and the card, all or nothing.

        Refuses by itself, before the target is touched, if a blocking property does not hold or a shard or preview is
        missing or stale, because checks stop what is downstream in their own run only. A dry run (`dry_run: true` in
        the run config) materializes nothing: what publishing would change is then told in the log and among this
        asset's events.

        Everything from the start: job `build`, in one run, which is quicker than **Materialize all**.
        """
        with refusals_reported(), faults_not_retried():
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
                if rehearsal.others:
                    context.log.warning("\n  ".join(["In the way of publishing:", *summarize(rehearsal.others)]))
                would = [f"{name}: {what}" for name, what in rehearsal.rows()]
                context.log.info("\n  ".join(["Dry run complete. Dataset built but not pushed. Publishing:", *would]))
                return
            published = target.publish(publication)
            for product in dataset.products:
                for sidecar in publication.made[product.name].values():  # a local target has given their files links
                    update_noted_status(product, setup.folder, sidecar)
        context.log.info(f"{'Published' if published.changed else 'Nothing has changed:'} {published.url}")
        metadata |= reporting.of_published(published, target.location)
        yield dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(publication.digest))

    return hub_dataset
