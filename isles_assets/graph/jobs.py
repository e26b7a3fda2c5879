"""The jobs: make everything in one run, verify the published dataset, and return to an earlier publication."""

from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import Field

from isles_assets.graph.reporting import Metadata, of_published, refusals_reported
from isles_assets.graph.run_start import tags_of_all_partitions
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.findings import Refusal
from isles_assets.products.dataset import Dataset

_BUILD = """The whole graph over all {subjects} subjects in one run: the quickest way to make everything.

Open the Launchpad with the arrow beside **Materialize all**, and press **Launch Run**. No partition needs to be chosen.
**Materialize all** itself asks for partitions and starts a backfill: several runs, one after the other. Each takes time
to start, so on the sample a backfill takes several times as long. Use it for some of the subjects, or with several
machines."""


class _AllPartitionsJob(UnresolvedAssetJobDefinition):
    """An asset job whose tags select all partitions at once, so nobody has to choose one.

    If an asset of a job has partitions, Dagster expects one partition per run. Its Launchpad then warns of an empty
    choice, and a chosen partition would contradict the tags.
    """

    def resolve(self, *args: Any, **kwargs: Any) -> dg.JobDefinition:
        job = super().resolve(*args, **kwargs)
        return dg.JobDefinition(
            graph_def=job.graph,
            asset_layer=job.asset_layer,
            resource_defs=job.resource_defs,
            executor_def=job.executor_def,
            description=self.description,
            tags=self.tags,
            metadata=self.metadata,
        )


def build_job(dataset: Dataset, metadata: Metadata) -> UnresolvedAssetJobDefinition:
    """Return the job `build`, whose page in the UI shows `metadata`."""
    return _AllPartitionsJob(
        name="build",
        selection=dg.AssetSelection.all(),
        description=dataset.release.describe(_BUILD),
        metadata=metadata,
        tags=tags_of_all_partitions(dataset),
    )


def verify_config(**read_back: Any) -> dict[str, Any]:
    """Return the run config of job `verify`, which always decodes.

    Args:
        read_back: Fields of `ReadBackConfig`.
    """
    return {
        "ops": {
            "hub_dataset_loads": {"config": {"again": True}},
            **({"hub_dataset_remote_matches_local": {"config": read_back}} if read_back else {}),
        }
    }


verify = dg.define_asset_job(
    "verify",
    selection=dg.AssetSelection.checks_for_assets("hub_dataset"),
    description="Check that the published dataset is unchanged. Change nothing.",
    config=verify_config(),
    executor_def=dg.in_process_executor,  # one check after the other: the last one counts them
)


class RollbackConfig(dg.Config):
    """Which revision to restore."""

    to: str = Field(description="A tag or commit of the repo. The metadata of earlier hub_dataset events show them.")


@dg.op
def restore_revision(
    context: dg.OpExecutionContext, config: RollbackConfig, settings: Settings, dataset: DatasetParam
) -> None:
    """Make `main` hold the files of an earlier revision, by one new commit that sends no data."""
    with refusals_reported():
        target = settings.setup(dataset).target()
        if target.history is None:
            mend = "publish again from the tree of that revision"
            raise Refusal.of("Not rolled back.", "a local target has no history", mend, path=target.location)
        published = target.history.roll_back(config.to)
    metadata = of_published(published, target.location) | {"rolled back to": config.to}
    context.log_event(dg.AssetObservation("hub_dataset", metadata=metadata))
    context.log.info(f"`main` of {target.location} is at {published.revision}, with the files of {config.to}")


@dg.job(executor_def=dg.in_process_executor)
def rollback() -> None:
    """Restore an earlier revision of the published dataset."""
    restore_revision()
