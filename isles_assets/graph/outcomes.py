"""One run over many partitions, each of which succeeds or fails separately.

Dagster records all partitions of a step, or none if the step fails. So if a partition fails or the run is interrupted,
this module records each partition that succeeded, and then lets the step fail with the names of the others. Only these
show as failed, and a backfill of failed partitions runs only them.
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
_MAX_TEXTS = 10
"""Number of failed partitions whose errors the step's failure shows."""


def materialize_each(
    context: dg.AssetExecutionContext,
    rows: Rows,
    *,
    build: Callable[[Rows], Iterable[Outcome]],
    find_finished: Callable[[Rows], Mapping[str, Sidecar]],
    describe: Callable[[ManifestRow, Sidecar], DisplayValues],
    damaged: Callable[[str], Sequence[Finding]],
    stopping: Callable[[Sidecar], Sequence[Finding]],
    how_to_waive: Callable[[Sequence[Finding]], str],
) -> None:
    """Materialize each partition of this run.

    Args:
        build: Makes the product of each row.
        find_finished: Returns the sidecars of those rows whose product is up to date. An interrupted run asks it about
            rows without an outcome, because a process may have finished them.
        describe: Returns the metadata that the UI shows for a partition.
        damaged: Returns the findings that forbid making anything of a subject. Its partition then fails, and an earlier
            product stays.
        stopping: Returns the findings that forbid publishing a finished product. Its partition then fails, but the
            product stays, and need not be made again when the findings are waived.
        how_to_waive: Returns the text that tells how to waive findings.

    Raises:
        Failure: A partition failed.
    """
    by_subject = {row.subject: row for row in rows}
    outcomes = _Outcomes(context, how_to_waive)

    def finish(sidecar: Sidecar, *, written: bool) -> None:
        if findings := stopping(sidecar):
            headline = f"{sidecar.subject} is made, and cannot be published as it is."
            outcomes.fail(sidecar.subject, Refusal(headline, findings))
            return
        values = {**describe(by_subject[sidecar.subject], sidecar), "written": written}
        outcomes.succeed(sidecar.subject, metadata(values), sidecar.data_version)

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
            without_outcome = [row for row in rows if row.subject not in {*outcomes.succeeded, *outcomes.failed}]
            for sidecar in find_finished(without_outcome).values():
                finish(sidecar, written=True)


class _Outcomes:
    """The outcomes of the partitions of one step."""

    def __init__(self, context: dg.AssetExecutionContext, how_to_waive: Callable[[Sequence[Finding]], str]):
        self._context = context
        self._how_to_waive = how_to_waive
        self._provenance = _provenance(context)
        self.succeeded: dict[str, tuple[Metadata, str]] = {}
        self.failed: dict[str, Exception] = {}

    def succeed(self, key: str, metadata: Metadata, data_version: str) -> None:
        """Note that partition `key` succeeded."""
        self.succeeded[key] = metadata, data_version
        self._context.add_asset_metadata(metadata, partition_key=key)

    def fail(self, key: str, error: Exception) -> None:
        """Note and log that partition `key` failed."""
        error = of_machine(error) or error
        self.failed[key] = error
        expected = isinstance(error, Refusal | WorkerDiedError)
        self._context.log.error(f"{key} failed: {_first_problem(error)}", exc_info=None if expected else error)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record each partition that succeeded, also if the work inside is interrupted.

        Dagster records them itself only if the step succeeds.

        Raises:
            Failure: A partition failed.
        """
        try:
            yield
            if self.failed:
                raise self._failure()
        except BaseException:
            for key, (metadata, data_version) in self.succeeded.items():
                versions = {_DATA_VERSION: data_version, "dagster/data_version_is_user_provided": "true"}
                materialization = dg.AssetMaterialization(
                    self._context.asset_key, partition=key, metadata=metadata, tags=self._provenance | versions
                )
                self._context.log_event(materialization)
            raise

    def _failure(self) -> dg.Failure:
        failed = sorted(self.failed)
        texts = [(key, _text(self.failed[key])) for key in failed[:_MAX_TEXTS]]
        findings = [finding for key in failed for finding in self._findings(key)]
        waiving = self._how_to_waive(findings)
        total, others = len(self._context.partition_keys), len(self.succeeded)
        done = f"The other {counted(others, 'is', 'are')} done. " if others else ""
        mend = (
            "it and materialize the failed partition"
            if len(failed) == 1
            else "these and materialize the failed partitions"
        )
        return dg.Failure(
            f"{len(failed)} of {counted(total, 'subject')} failed: {name_some(failed)}. {done}Mend {mend}.\n"
            + "\n".join(
                [*(text if key in text else f"{key}: {text}" for key, text in texts), *([waiving] if waiving else [])]
            ),
            metadata=of_judgement(Judgement(stopping=tuple(findings)), waiving),
            allow_retries=False,
        )

    def _findings(self, key: str) -> tuple[Finding, ...]:
        """Return the findings on partition `key`, which failed."""
        error = self.failed[key]
        if isinstance(error, Refusal) and error.findings:
            return error.findings
        mend = Materialize((self._context.asset_key.to_user_string(),), key)
        return (Finding(_text(error), mend, subject=key),)


def problems_of_failed(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    """Return the first problem of each partition of `asset` whose last attempt failed, by partition key."""
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
    last_run = {key: run_id for key, (run_id, _) in attempts(dg.AssetKey(asset)).items()}
    problems: dict[str, str] = {}
    for run_id in set(last_run.values()):
        for record in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = record.dagster_event
            if event and event.step_key == asset and (failure := event.step_failure_data.user_failure_data):
                for finding in findings_in(failure.metadata):
                    if last_run.get(finding["subject"]) == run_id:
                        name = finding["path"].rpartition("/")[2]
                        problems.setdefault(finding["subject"], f"{name}{name and ' '}{finding['problem']}")
    return problems


def _provenance(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Return the tags by which Dagster decides later whether a materialization is stale.

    Dagster adds them to its own materializations, but not to those of `log_event`:
    https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching.
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


def _first_problem(error: Exception) -> str:
    """Return the first problem and the number of others. The step's failure shows them all, with mends."""
    if not isinstance(error, Refusal):
        return _text(error)
    if not error.findings:
        return error.headline
    first, *others = error.findings
    return f"{first.without_mend()}{f', and {len(others)} more' if others else ''}"


def _text(error: Exception) -> str:
    if isinstance(error, Refusal):
        return error.text(render)
    return str(error) if isinstance(error, WorkerDiedError) else f"{type(error).__name__}: {error}"
