"""The end of a run's output: one block with all refusals and failed checks, each with problem, place and mend.

The block is made from the records that Dagster's loggers get. Dagster's history keeps every event with its findings and
trace. The trace of a fault of the program is shown in full when the fault happens, and named in the block.
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from isles_assets.graph.commands import render, select_also
from isles_assets.graph.reporting import findings_in
from isles_assets.lib.findings import MOST_SHOWN, Finding, Level, Materialize, Refusal
from isles_assets.lib.progress import readable_time
from isles_assets.lib.words import counted

_WRAPPERS = re.compile("Dagster.*Error|Failure|RetryRequested.*")
"""Names of the exceptions in which Dagster and `reporting` wrap an exception."""

_CHECK_FAILED = "DagsterAssetCheckFailedError"
_INTERRUPTED = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
_NOT_EXECUTED = re.compile(r"Dependencies for step (\S+) (.*)\. Not executing\.")
_REPORT, _REPORT_INPUTS = "quality_report", ("clinical_table", "subject_manifest")
"""The report can be made after other assets failed, unless these failed."""

_SKIPPED = re.compile(r"Skipping step .* due to skipped dependencies.*", re.DOTALL)
_ENDS = {dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}

_NOTHING_TO_CHECK = "Not run, because this run made nothing for them to check"
_FindingKey = tuple[str, str, str]
"""Subject, path and problem of a finding."""


@dataclass(frozen=True)
class _StepFailure:
    """The text with which a step failed, and the records of its findings."""

    step: str
    text: str
    records: Sequence[Mapping[str, Any]]

    @property
    def findings(self) -> Mapping[_FindingKey, str]:
        """The line of each finding."""
        return {(r["subject"], r["path"], r["problem"]): _line_of(r) for r in self.records}

    def lines(self, before: "Sequence[_StepFailure]", after: "Sequence[_StepFailure]") -> list[str]:
        """Return the lines to show. Only the first step with a finding shows it, with a mend for all these steps."""
        shown_by = {key: failure.step for failure in reversed(before) for key in failure.findings}
        others = {key: [failure.step for failure in after if key in failure.findings] for key in self.findings}
        new = {f"  {line}": select_also(f"  {line}", self.step, others[key]) for key, line in self.findings.items()}
        repeated = {f"  {line}": shown_by[key] for key, line in self.findings.items() if key in shown_by}
        lines = [new.get(line, line) for line in _without(self.text.splitlines(), repeated.keys())]
        if not repeated:
            return lines
        number = (
            f"All {len(repeated)}"
            if len(repeated) == len(self.findings)
            else f"{len(repeated)} of {len(self.findings)}"
        )
        return [*lines, f"{number} problems are those of {', '.join(sorted(set(repeated.values())))}, above."]


def _without(lines: Sequence[str], left_out: Collection[str]) -> list[str]:
    """Return `lines` without those `left_out`, and without the headlines of paragraphs that become empty."""
    paragraphs: list[list[str]] = []
    for line in lines:
        if paragraphs and line.startswith(" "):
            paragraphs[-1].append(line)
        else:
            paragraphs.append([line])
    kept = [[line for line in paragraph if line not in left_out] for paragraph in paragraphs]
    some_left = (len(new) > 1 or len(old) == 1 for old, new in zip(paragraphs, kept, strict=True))
    first, *others = (new if left else [] for new, left in zip(kept, some_left, strict=True))
    return [line for paragraph in (first or lines[:1], *others) for line in paragraph]


class FailureSummary:
    """Collects the failures of one run from its records, and summarizes them when the run ends."""

    def __init__(self) -> None:
        self._step_failures: dict[str, _StepFailure] = {}  # by text
        self._shown_places: set[str] = set()
        self._fatal = False
        self._failed_checks: list[dg.AssetCheckEvaluation] = []
        self._faults: dict[str, str] = {}  # by step
        self._not_run = self._skipped = 0
        self._report_possible = False

    def add(self, record: logging.LogRecord) -> str | None:
        """Collect the failure in `record`. Return the text to show now instead of its message.

        Returns:
            An empty text if the record is to be shown at the end of the run only; None if its message is to be shown.
        """
        meta: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        event, step = meta.get("dagster_event"), meta.get("step_key") or ""
        if event is None:
            message = str(meta.get("orig_message"))
            not_executed, skipped = _NOT_EXECUTED.fullmatch(message), bool(_SKIPPED.fullmatch(message))
            if not_executed:
                step, reason = not_executed.groups()
                self._not_run += 1
                self._report_possible |= step == _REPORT and not any(name in reason for name in _REPORT_INPUTS)
            self._skipped += skipped
            return "" if not_executed or skipped else None
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR:
                self._failed_checks.append(check)
                self._fatal |= _has_fatal(check.metadata)
            return None
        return self._add_error(event, step) if _error(event) else None

    def _add_error(self, event: dg.DagsterEvent, step: str) -> str:
        """Collect the error of `event`. Return the text to show now."""
        error = _error(event)
        if event.event_type in _ENDS and self._failed:
            return ""  # it repeats the error of the first step that failed
        event = getattr(event.event_specific_data, "first_step_failure_event", None) or event
        text = _refusal_text(event)
        if event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            wait = readable_time(event.step_retry_data.seconds_to_wait or 0)
            first_lines = "\n".join((text or error.message.strip()).splitlines()[:2])
            return f"{first_lines}\nThe next attempt is in {wait}."
        if text is None:
            self._faults[step] = _unwrapped(error).message.strip().splitlines()[0]
            return f"{event.message}\n{getattr(event.event_specific_data, 'error_display_string', error.to_string())}"
        if text:
            failure = getattr(event.event_specific_data, "user_failure_data", None)
            metadata = failure.metadata if failure else {}
            self._step_failures.setdefault(text, _StepFailure(step, text, findings_in(metadata)))
            self._shown_places |= {place for _, place in _stopping_findings(metadata)}
            self._fatal |= _has_fatal(metadata)
        return ""

    @property
    def _failed(self) -> bool:
        return bool(self._step_failures or self._failed_checks or self._faults)

    def block(self, record: logging.LogRecord) -> str:
        """Return the block to show if `record` is the end of the run; empty before, or if there is nothing to show."""
        meta: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None or event.event_type not in _ENDS:
            return ""
        if not self._failed:
            return f"{_NOTHING_TO_CHECK}: {counted(self._skipped, 'step')}." if self._skipped else ""
        head = "Done, but checks failed." if event.event_type == dg.DagsterEventType.RUN_SUCCESS else "Not done."
        return "\n".join([f"{head} The UI has the whole log of run {meta['run_id']}.", *self._lines()])

    def _lines(self) -> Iterator[str]:
        failures = list(self._step_failures.values())
        for number, failure in enumerate(failures):
            first, *others = failure.lines(failures[:number], failures[number + 1 :])
            yield from ["", f"{failure.step and f'{failure.step}: '}{first}", *others]
        for check in self._failed_checks:
            yield from self._lines_of_check(check)
        for step, fault in self._faults.items():
            yield from ["", f"{step and f'{step}: '}{fault} (its trace is above)"]
        if self._not_run:
            yield from ["", f"Not run because of that: {counted(self._not_run, 'step')}."]
        if self._report_possible:
            yield f"The report can still be made: {render(Materialize((_REPORT,)))}"

    def _lines_of_check(self, check: dg.AssetCheckEvaluation) -> Iterator[str]:
        """Yield the findings of `check`, without those on files that are named above."""
        name = f"{check.asset_key.to_user_string()}, check {check.check_name}"
        findings = _stopping_findings(check.metadata)
        new = [(line, place) for line, place in findings if not place or place not in self._shown_places]
        self._shown_places |= {place for _, place in new}
        if findings and not new:
            yield f"{name}: fails because of files named above."
            return
        yield from ["", f"{name}:", *(f"  {line}" for line, _ in new[:MOST_SHOWN])]
        offenders = check.metadata.get("offenders")
        not_shown = int(getattr(offenders, "value", None) or len(findings)) - len(new[:MOST_SHOWN])
        if not_shown:
            yield f"  ... and {not_shown} more"
        how_to_waive = check.metadata.get("how to waive")
        if how_to_waive and not self._fatal:
            yield str(how_to_waive.value).rstrip()


def _refusal_text(event: dg.DagsterEvent) -> str | None:
    """Return the text of the refusal in `event`; empty if a check failed, which shows its own; None for a fault."""
    error = _unwrapped(_error(event))
    failure = getattr(event.event_specific_data, "user_failure_data", None)
    if error.cls_name == _CHECK_FAILED:
        return ""
    if error.cls_name in _INTERRUPTED:
        return "Interrupted. Finished work is kept: run the same command again."
    if error.cls_name == "Failure" and failure:
        return str(failure.description)
    if error.cls_name not in {kind.__name__ for kind in _subclasses(Refusal)}:
        return None
    return str(failure.description) if failure else error.message.partition(": ")[2].strip()


def _subclasses(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    """Yield `kind` and all classes derived from it."""
    yield kind
    for subclass in kind.__subclasses__():
        yield from _subclasses(subclass)


def _unwrapped(error: Any) -> Any:
    """Return the first of `error` and its causes that is no wrapper; if all are, the last."""
    while error.cause and _WRAPPERS.fullmatch(error.cls_name or ""):
        error = error.cause
    return error


def _error(event: dg.DagsterEvent) -> Any:
    return getattr(event.event_specific_data, "error", None)


def _has_fatal(metadata: Mapping[str, Any]) -> bool:
    """Return whether a finding cannot be waived. The block then does not say how to waive the others."""
    return any(record["level"] == Level.FATAL for record in findings_in(metadata))


def _stopping_findings(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return line and place of each finding that stops publication."""
    stopping = [record for record in findings_in(metadata) if record["level"] in (Level.FATAL, Level.WAIVABLE)]
    return [(_line_of(record), str(record["path"] or record["subject"])) for record in stopping]


def _line_of(record: Mapping[str, Any]) -> str:
    """Return the line of a finding, as in the text of a refusal."""
    return Finding(record["problem"], record["mend"], record["path"], record["subject"]).text()
