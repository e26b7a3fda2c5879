"""Dagster's part of the examination before a run: the instance, and the job `doctor`.

`python -m isles_assets.graph.examining` prints the lines on the instance as JSON, for a caller without Dagster.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import dagster as dg
from dagster._cli.utils import get_instance_for_cli
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from pydantic import Field

from isles_assets.doctor.examination import examine
from isles_assets.doctor.lines import Line, Status, Topic, blockers, fine, verdict
from isles_assets.graph.commands import render
from isles_assets.graph.environment import with_variables
from isles_assets.graph.reporting import of_examination, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.files import free_space
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import readable_bytes

_ROOM = 100_000_000
"""Free bytes that the run database needs: some runs of the whole graph."""


class ExaminationConfig(dg.Config):
    """What to take for granted."""

    take_over: str = Field(
        "",
        description="The commit of somebody else's files that the publication is to replace: they then block nothing.",
    )


@dg.op
def examination(
    context: dg.OpExecutionContext, config: ExaminationConfig, settings: Settings, dataset: DatasetParam
) -> None:
    """Say whether a run with these settings can succeed. Fails if something would make it fail."""
    lines = examine(
        settings,
        dataset,
        Path.cwd(),
        instance=lambda: instance_lines(context.instance, but=context.run_id),
        take_over=config.take_over,
    )
    for line in lines:
        if line.status is not Status.FINE:
            mend = f" -> {render(line.mend)}" if line.mend else ""
            context.log.info(f"{line.status}: {line.topic}: {line.what}{mend}")
    context.add_output_metadata(of_examination(lines))
    if stopping := blockers(lines):
        findings = [Finding(line.what, line.mend, path=str(line.topic)) for line in stopping]
        with refusals_reported(of_examination(lines)):
            raise Refusal(verdict(lines), findings)
    context.log.info(verdict(lines))


@dg.job(executor_def=dg.in_process_executor)
def doctor() -> None:
    """Say in less than a minute whether a run can succeed, and what to do if not. Sends nothing."""
    examination()


def instance_lines(instance: dg.DagsterInstance, but: str = "") -> Iterator[Line]:
    """Yield the runs in progress, and the room of the run database.

    Args:
        but: Id of a run that does not count.
    """
    runs = instance.get_runs(dg.RunsFilter(statuses=[*IN_PROGRESS_RUN_STATUSES, dg.DagsterRunStatus.QUEUED]))
    others = [run for run in runs if run.run_id != but]
    for run in others:
        what = f"job {run.job_name} is {run.status.value.lower()}: run {run.run_id[:8]}"
        mend = "wait for it, or end it in the UI; two runs of the same assets wait for each other, or do work twice"
        yield Line(Topic.INSTANCE, Status.NOTE, what, mend)
    if not others:
        yield fine(Topic.INSTANCE, "no run is in progress")
    yield _database(instance)


def _database(instance: dg.DagsterInstance) -> Line:
    of_storage = instance.get_ref().storage_data if instance.is_persistent else None
    base = (of_storage.config_dict if of_storage else {}).get("base_dir")
    if not base:
        return fine(Topic.INSTANCE, "the run database is no file of this machine")
    folder = Path(base).absolute()
    size = sum(path.stat().st_size for path in folder.rglob("*.db*") if path.is_file())
    free = free_space(folder)
    what = f"the run database in {folder} has {readable_bytes(size)}; its disk has {readable_bytes(free)} free"
    if free < _ROOM:
        return Line(Topic.INSTANCE, Status.BLOCKER, what, "free space there, or set DAGSTER_HOME to a larger disk")
    return fine(Topic.INSTANCE, what)


def _here() -> list[Line]:
    """Return the lines on the instance that commands in this folder use. Makes none."""
    os.environ.update(with_variables(Path.cwd()))
    home = Path(os.environ["DAGSTER_HOME"])
    if not (home / "dagster.yaml").is_file():
        mend = "run everything from the checkout, after `make setup`; or set DAGSTER_HOME"
        return [
            Line(Topic.INSTANCE, Status.NOTE, f"{home} holds no dagster.yaml: it is no instance of this project", mend)
        ]
    with get_instance_for_cli() as instance:
        return list(instance_lines(instance))


if __name__ == "__main__":
    sys.stdout.write(json.dumps([{**asdict(line), "mend": str(line.mend)} for line in _here()]))
