"""Jobs: everything in one run, a look at what is published, and the way back to an earlier publication."""

import dagster as dg
from pydantic import Field

from isles_assets.graph.reporting import of_published, refusals_reported
from isles_assets.graph.resources import Settings
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.release.subjects import SUBJECT_IDS

build = dg.define_asset_job(
    "build",
    selection=dg.AssetSelection.all(),
    description="The whole graph over all 149 subjects, in one run.",
    tags={
        "dagster/asset_partition_range_start": SUBJECT_IDS[0],
        "dagster/asset_partition_range_end": SUBJECT_IDS[-1],
    },
)


verify = dg.define_asset_job(
    "verify",
    selection=dg.AssetSelection.checks_for_assets("hub_dataset"),
    description="Is what is published still what was published? Changes nothing.",
    config={"ops": {"hub_dataset_loads": {"config": {"again": True}}}},
)


class RollbackConfig(dg.Config):
    """Where to go back to."""

    to: str = Field(description="A tag or commit of the repo, as an earlier hub_dataset shows it in its metadata.")


@dg.op
def restore_revision(context: dg.OpExecutionContext, config: RollbackConfig, settings: Settings) -> None:
    """Bring `main` back to what an earlier revision holds, by one new commit and without sending data."""
    with refusals_reported():
        target = settings.target()
        if not isinstance(target, HuggingFaceHub):
            mend = "publish again from the tree that it was made of"
            raise Refusal("Not rolled back.", [Finding("", target.location, "a local target has no history", mend)])
        published = target.roll_back(config.to)
    facts = of_published(published, target.location)
    context.log_event(dg.AssetObservation("hub_dataset", metadata={**facts, "rolled back to": config.to}))
    context.log.info(f"`main` of {target.location} is at {published.revision}, which holds what {config.to} holds")


@dg.job(executor_def=dg.in_process_executor)
def rollback() -> None:
    """Bring the published dataset back to an earlier revision."""
    restore_revision()
