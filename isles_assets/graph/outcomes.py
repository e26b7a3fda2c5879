"""One run over many partitions in which each succeeds or fails for itself.

Dagster records a multi-partition step as a whole: all keys, or none if it raises. Here the keys that succeeded
are recorded one by one when something failed or the run was cut short, and the step then fails naming the rest,
so that exactly those show as failed and a backfill of failed partitions runs only them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg

from isles_assets.graph.commands import render
from isles_assets.graph.reporting import Metadata, findings_in, metadata, of_judgement, refusals_reported
from isles_assets.lib.display import DisplayValues
from isles_assets.lib.files import of_machine
from isles_assets.lib.findings import Finding, Materialize, Refusal, name_some
from isles_assets.lib.words import counted
from isles_assets.lib.workers import WorkerDiedError
from isles_assets.products.building import Outcome
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.waivers import Judgement
from isles_assets.tables.manifest import ManifestRow

Rows = Sequence[ManifestRow]

_DATA_VERSION = "dagster/data_version"


def materialize_each(
    context: dg.AssetExecutionContext,
    rows: Rows,
    *,
    build: Callable[[Rows], Iterable[Outcome]],
    complete: Callable[[Rows], Mapping[str, Sidecar]],
    describe: Callable[[ManifestRow, Sidecar], DisplayValues],
    damaged: Callable[[str], Sequence[Finding]],
    stopping: Callable[[Sidecar], Sequence[Finding]],
    how_to_waive: Callable[[Sequence[Finding]], str],
) -> None:
    """Materialize each partition of this run with what `build` makes of its row, or fail naming each that failed.

    `complete` tells which of some rows are done: an interrupted run may have finished some that it did not report.
    `describe` is what the UI shows of a partition. `damaged` tells why nothing may be made of a subject: then it fails,
    and what was made of it before stays. `stopping` tells what stops the publication of one that was made: then it
    fails all the same, stays as it is, and is not made again once its findings are waived.
    """
    by_subject = {row.subject: row for row in rows}
    outcomes = _Outcomes(context, how_to_waive)

    def finish(sidecar: Sidecar, *, written: bool) -> None:
        if findings := stopping(sidecar):
            headline = f"{sidecar.subject} is made, and cannot be published as it is."
            outcomes.fail(sidecar.subject, Refusal(headline, findings))
            return
        shown = {**describe(by_subject[sidecar.subject], sidecar), "written": written}
        outcomes.succeed(sidecar.subject, metadata(shown), sidecar.data_version)

    for key in set(context.partition_keys) - set(by_subject):
        outcomes.fail(key, Refusal(f"{key} is not in the manifest; see the checks of subject_manifest."))
    for row in rows:
        if findings := damaged(row.subject):
            outcomes.fail(row.subject, Refusal(f"Nothing was made of {row.subject}.", findings))
    rows = [row for row in rows if row.subject not in outcomes.failed]
    with outcomes.recorded(), refusals_reported():
        try:
            for outcome in build(rows):
                if isinstance(outcome.result, Exception):
                    outcomes.fail(outcome.subject, outcome.result)
                else:
                    finish(outcome.result, written=outcome.written)
        finally:
            unheard = [row for row in rows if row.subject not in {*outcomes.succeeded, *outcomes.failed}]
            for sidecar in complete(unheard).values():
                finish(sidecar, written=True)


class _Outcomes:
    """The outcomes so far of the partitions of one step."""

    def __init__(self, context: dg.AssetExecutionContext, how_to_waive: Callable[[Sequence[Finding]], str]):
        self._context = context
        self._how_to_waive = how_to_waive
        self._provenance = _provenance(context)
        self.succeeded: dict[str, tuple[Metadata, str]] = {}
        self.failed: dict[str, Exception] = {}

    def succeed(self, key: str, shown: Metadata, data_version: str) -> None:
        """`key` is materialized, with metadata that is `shown` and a data version of its own."""
        self.succeeded[key] = shown, data_version
        self._context.add_asset_metadata(shown, partition_key=key)

    def fail(self, key: str, error: Exception) -> None:
        """`key` is not materialized, because of `error`; the others go on."""
        error = of_machine(error) or error
        self.failed[key] = error
        expected = isinstance(error, Refusal | WorkerDiedError)
        self._context.log.error(f"{key} failed: {_brief(error)}", exc_info=None if expected else error)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Raise `dagster.Failure` at the end if any partition failed.

        Then, and where the work stops before, a materialization of each that succeeded is stored: Dagster does that
        only if the step succeeds.
        """
        try:
            yield
            if self.failed:
                raise self._failure()
        except BaseException:
            for key, (shown, data_version) in self.succeeded.items():
                versions = {_DATA_VERSION: data_version, "dagster/data_version_is_user_provided": "true"}
                materialization = dg.AssetMaterialization(
                    self._context.asset_key, partition=key, metadata=shown, tags=self._provenance | versions
                )
                self._context.log_event(materialization)
            raise

    def _failure(self) -> dg.Failure:
        failed = sorted(self.failed)
        words = [(key, _words(self.failed[key])) for key in failed[:10]]
        findings = [finding for key in failed for finding in self._findings(key)]
        how = self._how_to_waive(findings)
        total, others = len(self._context.partition_keys), len(self.succeeded)
        done = others and f"The other {counted(others, 'is', 'are')} done. "
        mend = (
            "it and materialize the failed partition"
            if len(failed) == 1
            else "these and materialize the failed partitions"
        )
        return dg.Failure(
            f"{len(failed)} of {counted(total, 'subject')} failed: {name_some(failed)}. {done or ''}Mend {mend}.\n"
            + "\n".join([*(text if key in text else f"{key}: {text}" for key, text in words), *([how] if how else [])]),
            metadata=of_judgement(Judgement(stopping=tuple(findings)), how),
            allow_retries=False,
        )

    def _findings(self, key: str) -> tuple[Finding, ...]:
        """What is wrong with `key`, which failed."""
        error = self.failed[key]
        if isinstance(error, Refusal) and error.findings:
            return error.findings
        mend = Materialize((self._context.asset_key.to_user_string(),), key)
        return (Finding(_words(error), mend, subject=key),)


def what_stopped(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    """What was found at the last attempt to make each partition of `asset` that failed, by its key."""
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
    last = {key: run for key, (run, _) in attempts(dg.AssetKey(asset)).items()}
    found: dict[str, str] = {}
    for run in set(last.values()):
        for record in instance.all_logs(run, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = record.dagster_event
            if event and event.step_key == asset and (failure := event.step_failure_data.user_failure_data):
                for finding in findings_in(failure.metadata):
                    if last.get(finding["subject"]) == run:
                        where = finding["path"].rpartition("/")[2]
                        found.setdefault(finding["subject"], f"{where}{where and ' '}{finding['problem']}")
    return found


def _provenance(context: dg.AssetExecutionContext) -> dict[str, str]:
    """The tags that Dagster gives its own materializations, by which it knows later whether they are stale.

    https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching; they are not written for `log_event`.
    """
    key = context.asset_key
    tags = {"dagster/code_version": context.assets_def.code_versions_by_key[key] or context.run_id}
    for parent in context.assets_def.asset_deps[key]:
        name = parent.to_user_string()
        version, event = "INITIAL", "NULL"
        for record in context.instance.fetch_materializations(parent, limit=1).records:
            version, event = (record.event_log_entry.tags or {}).get(_DATA_VERSION, version), str(record.storage_id)
        tags |= {f"dagster/input_data_version/{name}": version, f"dagster/input_event_pointer/{name}": event}
    return tags


def _brief(error: Exception) -> str:
    """What is wrong, for now: the failure of the step tells all, and how to mend it."""
    if not isinstance(error, Refusal):
        return _words(error)
    if not error.findings:
        return error.headline
    first, *others = error.findings
    return f"{first.without_mend()}{f', and {len(others)} more' if others else ''}"


def _words(error: Exception) -> str:
    if isinstance(error, Refusal):
        return error.text(render)
    return str(error) if isinstance(error, WorkerDiedError) else f"{type(error).__name__}: {error}"
