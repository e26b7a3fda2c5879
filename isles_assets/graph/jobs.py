"""Jobs: everything in one run, a look at what is published, and the way back to an earlier publication."""

from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import Field

from isles_assets.graph.beginning import all_of
from isles_assets.graph.reporting import Metadata, of_published, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.findings import Refusal
from isles_assets.products.dataset import Dataset

_BUILD = """The whole graph over all {subjects} subjects, in one run: the quickest way to all of it.

Open its Launchpad, by the arrow beside **Materialize all**, and press **Launch Run**; no partition has to be chosen.
**Materialize all** itself asks for partitions and makes the same by a backfill: several runs one after the other, each
with a start of its own, which on the sample takes several times as long. It is for some of the subjects, or for several
machines."""


class _OverAll(UnresolvedAssetJobDefinition):
    """An asset job that is over all partitions at once, by its tags, and so asks nobody to choose one.

    Dagster takes an asset job for one over a single partition as soon as one of its assets has partitions. Its
    Launchpad then warns of an empty choice, and makes of a choice something that is neither that partition nor all.
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


def build_job(dataset: Dataset, in_force: Metadata) -> UnresolvedAssetJobDefinition:
    """The job `build`, which shows what is `in_force`."""
    return _OverAll(
        name="build",
        selection=dg.AssetSelection.all(),
        description=dataset.release.describe(_BUILD),
        metadata=in_force,
        tags=all_of(dataset),
    )


def verify_config(**read: Any) -> dict[str, Any]:
    """The run config of the job `verify`, which decodes whatever was decoded before and reads back what `read` says."""
    return {
        "ops": {
            "hub_dataset_loads": {"config": {"again": True}},
            **({"hub_dataset_remote_matches_local": {"config": read}} if read else {}),
        }
    }


verify = dg.define_asset_job(
    "verify",
    selection=dg.AssetSelection.checks_for_assets("hub_dataset"),
    description="Is what is published still what was published? Changes nothing.",
    config=verify_config(),
    executor_def=dg.in_process_executor,  # one check after the other, so that the last one can count them
)


class RollbackConfig(dg.Config):
    """Where to go back to."""

    to: str = Field(description="A tag or commit of the repo, as an earlier hub_dataset shows it in its metadata.")


@dg.op
def restore_revision(
    context: dg.OpExecutionContext, config: RollbackConfig, settings: Settings, dataset: DatasetParam
) -> None:
    """Bring `main` back to what an earlier revision holds, by one new commit and without sending data."""
    with refusals_reported():
        target = settings.setup(dataset).target()
        if target.history is None:
            mend = "publish again from the tree that it was made of"
            raise Refusal.of("Not rolled back.", "a local target has no history", mend, path=target.location)
        published = target.history.roll_back(config.to)
    shown = of_published(published, target.location) | {"rolled back to": config.to}
    context.log_event(dg.AssetObservation("hub_dataset", metadata=shown))
    context.log.info(f"`main` of {target.location} is at {published.revision}, which holds what {config.to} holds")


@dg.job(executor_def=dg.in_process_executor)
def rollback() -> None:
    """Bring the published dataset back to an earlier revision."""
    restore_revision()
