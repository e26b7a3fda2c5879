"""Sensors and schedules: each is off until somebody switches it on in the UI, under Automation.

Only notifications are on from the start, if `ISLES_WEBHOOK_URL` is set. All of them need the daemon, which `make ui`
starts.
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

_MAX_CHARACTERS = 1500
_SECONDS_PER_DAY = 24 * 60 * 60
_SUBJECTS_PER_NIGHT = 5
"""Number of subjects that `nightly_verify` reads back from the Hub."""

Condition = dg.AutomationCondition
_passed = Condition.all_checks_match(Condition.check_passed(), blocking_only=True)
_not_failed = ~Condition.any_checks_match(Condition.check_failed(), blocking_only=True)
_OPTIONAL = "archive_listing"
"""An asset that need not be materialized if `ISLES_RAW_ROOT` is set."""

_outdated = Condition.any_deps_updated().since(Condition.newly_updated())


def when_complete(release: Release) -> dg.AutomationCondition:
    """Return the condition on which Dagster materializes `hub_dataset`.

    Dagster does not see changes of files. `hub_dataset` itself refuses to publish stale ones.
    """
    checked = dict.fromkeys(prop.asset for prop in properties_of(release) if prop.blocking)
    blocking = [
        Condition.asset_matches(asset, _not_failed).with_label(f"no blocking check of {asset} failed")
        if asset == _OPTIONAL
        else Condition.asset_matches(asset, _passed).with_label(f"blocking checks of {asset} passed")
        for asset in checked
    ]
    return (
        (Condition.any_deps_updated() | Condition.missing().newly_true())
        .since(Condition.newly_requested() | Condition.newly_updated())
        .with_label("something is new")
        & (~Condition.any_deps_missing()).with_label("no partition is missing")
        & (~Condition.any_deps_match(Condition.execution_failed())).with_label("none failed")
        & (~Condition.any_deps_match(_outdated)).with_label("none is older than its inputs")
        & (~Condition.any_deps_in_progress()).with_label("none is being made")
        & (~Condition.in_progress()).with_label("nothing is being published")
        & reduce(and_, blocking)
    ).with_label("all shards and previews are fresh and all blocking checks have passed")


publish_when_complete = dg.AutomationConditionSensorDefinition(
    "publish_when_complete",
    target=dg.AssetSelection.assets("hub_dataset"),
    description="Publish when all shards and previews are fresh and all blocking checks have passed.",
)


@dg.schedule(
    job=verify,
    cron_schedule="0 3 * * *",
    description="Check each night at 3 h UTC that the published dataset is unchanged. Read "
    f"{_SUBJECTS_PER_NIGHT} subjects back from the Hub, others on each day of the month.",
)
def nightly_verify(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Return the run of one night, which reads back the next `_SUBJECTS_PER_NIGHT` subjects."""
    day = context.scheduled_execution_time.day
    return dg.RunRequest(run_config=verify_config(read_back=_SUBJECTS_PER_NIGHT, after=_SUBJECTS_PER_NIGHT * (day - 1)))


@dg.sensor(
    minimum_interval_seconds=_SECONDS_PER_DAY,
    description="Ask Zenodo for a newer version of the release. Record it on zenodo_archive and post it. Never "
    "download it.",
)
def newer_release(
    context: dg.SensorEvaluationContext, settings: Settings, dataset: DatasetParam
) -> dg.SensorResult | dg.SkipReason:
    """Report a newer version once. Zenodo is asked once a day."""
    pinned = dataset.release.record
    with reporting.refusals_reported():
        try:
            newest = settings.setup(dataset).zenodo(context.log.info).newest(pinned.record)
        except TransientError as error:
            return dg.SkipReason(f"Zenodo did not say today whether there is a version after {pinned.version}: {error}")
    if newest.record == pinned.record:
        return dg.SkipReason(f"{pinned.version} is the newest version")
    if newest.record == context.cursor:
        return dg.SkipReason(f"{newest.version} of {newest.date} was reported before")
    if webhook.address():
        webhook.post(f"Zenodo has {newest.version} of the release, of {newest.date}: {newest.url}")
    observation = dg.AssetObservation("zenodo_archive", metadata=reporting.of_newer_version(newest))
    return dg.SensorResult(asset_events=[observation], cursor=newest.record)


def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Post each run that failed, with the reason, to the address in `ISLES_WEBHOOK_URL`."""
    failures = [event for event in context.get_step_failure_events() if not _is_of_blocking_check(event)]
    reasons = [*(f"{event.step_key}: {_reason(event)}" for event in failures), *_failed_checks(context)]
    webhook.post(_message(context.dagster_run, "failed", reasons or [context.failure_event.message or ""]))


def failed_checks(context: dg.RunStatusSensorContext) -> None:
    """Post the checks that failed in a run that succeeded, to the address in `ISLES_WEBHOOK_URL`."""
    if reasons := _failed_checks(context):
        webhook.post(_message(context.dagster_run, "succeeded, but checks failed", reasons))


def _failed_checks(context: dg.RunStatusSensorContext) -> list[str]:
    """Return name and description of each check of the run that failed, without warnings."""
    entries = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    return [
        f"{check.asset_key.to_user_string()}: {check.check_name} failed\n{check.description or ''}"
        for check in checks
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    ]


def _is_of_blocking_check(event: dg.DagsterEvent) -> bool:
    """Return whether the step failed because its check did. The check's own description says more."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def _reason(event: dg.DagsterEvent) -> str:
    """Return why the step failed, for people."""
    failure = event.step_failure_data
    description = failure.user_failure_data.description if failure.user_failure_data else None
    return description or (failure.error.message.strip() if failure.error else "no reason is known")


def _message(run: dg.DagsterRun, outcome: str, reasons: Sequence[str]) -> str:
    """Return the message about a run, cut to a length that a chat shows."""
    text = "\n".join([f"isles-assets: run {run.run_id} of {run.job_name} {outcome}.", *reasons])
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}\n... and more: see the run in the UI"


def sensors(*, notify: bool) -> Sequence[dg.SensorDefinition]:
    """Return all sensors. With `notify`, those that post messages are on from the start."""
    status = dg.DefaultSensorStatus.RUNNING if notify else dg.DefaultSensorStatus.STOPPED
    return [
        publish_when_complete,
        newer_release,
        dg.run_failure_sensor(default_status=status)(failed_runs),
        dg.run_status_sensor(run_status=dg.DagsterRunStatus.SUCCESS, default_status=status)(failed_checks),
    ]
