"""Jobs: everything in one run, a look at what is published, and the way back to an earlier publication."""

from typing import Any

import dagster as dg
from pydantic import Field

from isles_assets.graph.reporting import of_published, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.findings import Refusal
from isles_assets.release.release import Release


def build_job(release: Release) -> Any:
    """The job `build`."""
    return dg.define_asset_job(
        "build",
        selection=dg.AssetSelection.all(),
        description=release.describe("The whole graph over all {subjects} subjects, in one run."),
        tags={
            "dagster/asset_partition_range_start": release.subjects[0],
            "dagster/asset_partition_range_end": release.subjects[-1],
        },
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
