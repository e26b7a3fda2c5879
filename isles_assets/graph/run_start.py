"""The start of each run: it refuses contradictory partitions and logs the settings of the run."""

from contextlib import suppress

import dagster as dg

from isles_assets.graph.settings import Settings
from isles_assets.lib.findings import Materialize, Refusal
from isles_assets.products.dataset import Dataset

_PARTITION_TAG = "dagster/partition"
_RANGE_START_TAG = "dagster/asset_partition_range_start"
_RANGE_END_TAG = "dagster/asset_partition_range_end"
_LEFT_OUT = ("repo", "synthetic sample")
"""Settings that the line in the log leaves out, because `source` and `published at` say the same."""


def tags_of_all_partitions(dataset: Dataset) -> dict[str, str]:
    """Return the tags of a run over all partitions of `dataset`."""
    return {_RANGE_START_TAG: dataset.release.subjects[0], _RANGE_END_TAG: dataset.release.subjects[-1]}


def dataset_resource(dataset: Dataset) -> dg.ResourceDefinition:
    """Return the resource `dataset`. Dagster initializes it when a run starts; it then logs the run's settings.

    It refuses a run with tags of one partition and of a range: Dagster would make the range, but record only the one.
    """

    @dg.resource(required_resource_keys={"settings"}, description="The dataset that the graph makes.")
    def resource(context: dg.InitResourceContext) -> Dataset:
        if context.run and context.log and not _has_ended(context):
            _check_partitions(context.run)
            settings: Settings = context.resources.settings
            with suppress(Refusal):  # unusable settings: the first step fails with this refusal
                effective = settings.setup(dataset).effective
                parts = (f"{name}: {value}" for name, value in effective.items() if name not in _LEFT_OUT)
                context.log.info("; ".join(parts))
        return dataset

    return resource


def _has_ended(context: dg.InitResourceContext) -> bool:
    """Return whether the run is over. `dagster job execute` initializes resources again after a run."""
    run = context.instance and context.run and context.instance.get_run_by_id(context.run.run_id)
    return bool(run and run.is_finished)


def _check_partitions(run: dg.DagsterRun) -> None:
    partition = run.tags.get(_PARTITION_TAG)
    bounds = [run.tags[tag] for tag in (_RANGE_START_TAG, _RANGE_END_TAG) if tag in run.tags]
    if partition and bounds:
        problem = f"is chosen, and so are all from {' to '.join(bounds)}, over which job {run.job_name} runs"
        asset = Materialize(("subject_shard", "subject_preview"), partition)
        mend = f"launch it without a partition, or for {partition} alone {asset}"
        raise Refusal.of("Nothing was done.", problem, mend, path=partition)
