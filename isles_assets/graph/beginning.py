"""What each run does before its first step: it refuses what nobody can mean, and says what is in force in it."""

from contextlib import suppress

import dagster as dg

from isles_assets.graph.settings import Settings
from isles_assets.lib.findings import Materialize, Refusal
from isles_assets.products.dataset import Dataset

_ONE = "dagster/partition"
_FIRST = "dagster/asset_partition_range_start"
_LAST = "dagster/asset_partition_range_end"
_IN_OTHERS = ("repo", "synthetic sample")
"""What need not be said in one line, because `source` and `published at` say it."""


def all_of(dataset: Dataset) -> dict[str, str]:
    """The tags of a run over all partitions of `dataset`."""
    return {_FIRST: dataset.release.subjects[0], _LAST: dataset.release.subjects[-1]}


def announced(dataset: Dataset) -> dg.ResourceDefinition:
    """The resource `dataset`, whose start is that of the run: the first line of its log says what is in force.

    Raises `Refusal` for a run of one partition and of several: Dagster would plan all and record the one.
    """

    @dg.resource(required_resource_keys={"settings"}, description="The dataset that the graph makes.")
    def resource(context: dg.InitResourceContext) -> Dataset:
        if context.run and context.log and not _has_ended(context):
            _check(context.run)
            settings: Settings = context.resources.settings
            with suppress(Refusal):  # of settings that cannot be used: the first step says so, and is not done
                shown = settings.setup(dataset).in_force
                told = (f"{name}: {value}" for name, value in shown.items() if name not in _IN_OTHERS)
                context.log.info("; ".join(told))
        return dataset

    return resource


def _has_ended(context: dg.InitResourceContext) -> bool:
    """Whether the run is over: `dagster job execute` starts resources once more, for what it might tell of a result."""
    run = context.instance and context.run and context.instance.get_run_by_id(context.run.run_id)
    return bool(run and run.is_finished)


def _check(run: dg.DagsterRun) -> None:
    one, several = run.tags.get(_ONE), [run.tags[tag] for tag in (_FIRST, _LAST) if tag in run.tags]
    if one and several:
        problem = f"is chosen, and so are all from {' to '.join(several)}: job {run.job_name} is over these"
        asset = Materialize(("subject_shard", "subject_preview"), one)
        mend = f"launch it without a partition, or for {one} alone {asset}"
        raise Refusal.of("Nothing was done.", problem, mend, path=one)
