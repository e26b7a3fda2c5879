"""What happens without a person: everything here is off until it is switched on in the UI, under Automation.

Only the notifications start by themselves, where `ISLES_WEBHOOK_URL` says that they are wanted. All of it needs the
daemon, which `make ui` starts.
"""

from collections.abc import Sequence
from functools import reduce
from operator import and_

import dagster as dg

from isles_assets.graph import reporting, webhook
from isles_assets.graph.jobs import verify, verify_config
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.publication.properties import properties_of
from isles_assets.release.release import Release
from isles_assets.source.patience import TransientError

_MOST_WORDS = 1500
_A_DAY = 24 * 60 * 60
_A_NIGHT = 5
"""Subjects that are read back from the Hub in a night."""

Condition = dg.AutomationCondition
_passed = Condition.all_checks_match(Condition.check_passed(), blocking_only=True)
_not_failed = ~Condition.any_checks_match(Condition.check_failed(), blocking_only=True)
_MAY_BE_LEFT_OUT = "archive_listing"
"""An asset that nothing needs: of a tree that was given it need not ever be materialized."""

_behind = Condition.any_deps_updated().since(Condition.newly_updated())


def when_complete(release: Release) -> dg.AutomationCondition:
    """When `hub_dataset` may follow by itself. What Dagster cannot see of the files, `hub_dataset` refuses."""
    checked = dict.fromkeys(prop.asset for prop in properties_of(release) if prop.blocking)
    blocking = [
        Condition.asset_matches(asset, _not_failed).with_label(f"no blocking check of {asset} failed")
        if asset == _MAY_BE_LEFT_OUT
        else Condition.asset_matches(asset, _passed).with_label(f"blocking checks of {asset} passed")
        for asset in checked
    ]
    return (
        (Condition.any_deps_updated() | Condition.missing().newly_true())
        .since(Condition.newly_requested() | Condition.newly_updated())
        .with_label("something is new")
        & (~Condition.any_deps_missing()).with_label("every partition is there")
        & (~Condition.any_deps_match(Condition.execution_failed())).with_label("none failed")
        & (~Condition.any_deps_match(_behind)).with_label("none is older than what it is made from")
        & (~Condition.any_deps_in_progress()).with_label("none is being made")
        & (~Condition.in_progress()).with_label("nothing is being published")
        & reduce(and_, blocking)
    ).with_label("all shards and previews are fresh and all blocking checks have passed")


publish_when_complete = dg.AutomationConditionSensorDefinition(
    "publish_when_complete",
    target=dg.AssetSelection.assets("hub_dataset"),
    description="Publishes by itself, once all shards and previews are fresh and all blocking checks have passed.",
)


@dg.schedule(
    job=verify,
    cron_schedule="0 3 * * *",
    description=f"Is what is published still what was published? Each night at 3 h UTC. Reads {_A_NIGHT} subjects back "
    "from the Hub, others each day of the month.",
)
def nightly_verify(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """`_A_NIGHT` subjects, others each day of the month."""
    day = context.scheduled_execution_time.day
    return dg.RunRequest(run_config=verify_config(read_back=_A_NIGHT, after=_A_NIGHT * (day - 1)))


@dg.sensor(
    minimum_interval_seconds=_A_DAY,
    description="Has Zenodo a newer version of the release? Observed on zenodo_archive and posted, never taken.",
)
def newer_release(
    context: dg.SensorEvaluationContext, settings: Settings, dataset: DatasetParam
) -> dg.SensorResult | dg.SkipReason:
    """Ask Zenodo once a day."""
    pinned = dataset.release.record
    with reporting.refusals_reported():
        try:
            newest = settings.setup(dataset).zenodo(context.log.info).newest(pinned.record)
        except TransientError as error:
            return dg.SkipReason(f"Not known today whether there is a version after {pinned.version}: {error}")
    if newest.record == pinned.record:
        return dg.SkipReason(f"{pinned.version} is the newest version")
    if newest.record == context.cursor:
        return dg.SkipReason(f"{newest.version} of {newest.date} was reported before")
    if webhook.address():
        webhook.post(f"Zenodo has {newest.version} of the release, of {newest.date}: {newest.url}")
    observation = dg.AssetObservation("zenodo_archive", metadata=reporting.of_newer_version(newest))
    return dg.SensorResult(asset_events=[observation], cursor=newest.record)


def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Posts each run that failed, and why, to the address in `ISLES_WEBHOOK_URL`."""
    failures = [event for event in context.get_step_failure_events() if not _is_of_blocking_check(event)]
    words = [*(f"{event.step_key}: {_reason(event)}" for event in failures), *_red_checks(context)]
    webhook.post(_message(context.dagster_run, "failed", words or [context.failure_event.message or ""]))


def failed_checks(context: dg.RunStatusSensorContext) -> None:
    """Posts the checks that failed in a run that did not, to the address in `ISLES_WEBHOOK_URL`."""
    if words := _red_checks(context):
        webhook.post(_message(context.dagster_run, "found what should not be", words))


def _red_checks(context: dg.RunStatusSensorContext) -> list[str]:
    """What the checks of a run say that failed, warnings left out."""
    entries = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    return [
        f"{check.asset_key.to_user_string()}: {check.check_name} failed\n{check.description or ''}"
        for check in checks
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    ]


def _is_of_blocking_check(event: dg.DagsterEvent) -> bool:
    """Whether the step failed because its check did, which says more itself."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def _reason(event: dg.DagsterEvent) -> str:
    """What a step that failed says to people."""
    failure = event.step_failure_data
    said = failure.user_failure_data.description if failure.user_failure_data else None
    return said or (failure.error.message.strip() if failure.error else "no reason is known")


def _message(run: dg.DagsterRun, what: str, words: Sequence[str]) -> str:
    """One message on a run, cut to what a chat shows."""
    text = "\n".join([f"isles-assets: run {run.run_id} of {run.job_name} {what}.", *words])
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}\n... and more: see the run in the UI"


def sensors(*, notify: bool) -> Sequence[dg.SensorDefinition]:
    """All sensors; those that notify start by themselves if that is wanted."""
    status = dg.DefaultSensorStatus.RUNNING if notify else dg.DefaultSensorStatus.STOPPED
    return [
        publish_when_complete,
        newer_release,
        dg.run_failure_sensor(default_status=status)(failed_runs),
        dg.run_status_sensor(run_status=dg.DagsterRunStatus.SUCCESS, default_status=status)(failed_checks),
    ]
