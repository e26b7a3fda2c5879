"""What a run refused and which checks failed, as one block at the end of its output: what, where, mend.

It takes what Dagster tells a logger. The run's history keeps every event, with findings and traces, whatever is said
here. A fault of the program is no refusal: its trace is shown in full, where it happens.
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from isles_assets.graph.commands import also_for, render
from isles_assets.graph.reporting import findings_in
from isles_assets.lib.findings import MOST_SHOWN, Level, Materialize, Refusal, visible
from isles_assets.lib.progress import readable_time
from isles_assets.lib.words import counted

_OF_DAGSTER = re.compile("Dagster.*Error|Failure|RetryRequested.*")
"""Names of what wraps a refusal on its way through a step or resource."""

_CHECK_FAILED = "DagsterAssetCheckFailedError"
_INTERRUPTED = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
_NOT_EXECUTED = re.compile(r"Dependencies for step (\S+) (.*)\. Not executing\.")
REPORT, NEEDED = "quality_report", ("clinical_table", "subject_manifest")
"""The asset that can be made whatever else has failed, and those without which it cannot."""

_SKIPPED = re.compile(r"Skipping step .* due to skipped dependencies.*", re.DOTALL)
_ENDS = {dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}


_NOTHING_TO_DO = "Not run, as this run made nothing for them to look at"
_Place = tuple[str, str, str]
"""Of a finding: subject, path, problem."""


@dataclass(frozen=True)
class _Refused:
    """What the failure of a step says, and the records of its findings."""

    step: str
    words: str
    records: Sequence[Mapping[str, Any]]

    @property
    def found(self) -> Mapping[_Place, str]:
        """The findings, and the line in which each is told."""
        return {(r["subject"], r["path"], r["problem"]): _line_of(r) for r in self.records}

    def lines(self, before: "Sequence[_Refused]", after: "Sequence[_Refused]") -> list[str]:
        """What is told: what several steps have found is told by the first, with a mend that is of all of them."""
        told = {place: each.step for each in reversed(before) for place in each.found}
        others = {place: [each.step for each in after if place in each.found] for place in self.found}
        lines = {f"  {line}": also_for(f"  {line}", self.step, others[place]) for place, line in self.found.items()}
        again = {f"  {line}": told[place] for place, line in self.found.items() if place in told}
        shown = [lines.get(line, line) for line in _without(self.words.splitlines(), again.keys())]
        if not again:
            return shown
        some = "All" if len(again) == len(self.found) else f"{len(again)} of {len(self.found)}"
        return [*shown, f"{some} of that is the same as what stops {', '.join(sorted(set(again.values())))}, above."]


def _without(lines: Sequence[str], left_out: Collection[str]) -> list[str]:
    """`lines` without those that are `left_out`, nor the headline of a paragraph of which nothing else is left."""
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


class Ending:
    """Of one run: what to show of each record as it comes, and of all that was refused once the run ends."""

    def __init__(self) -> None:
        self._refused: dict[str, _Refused] = {}  # by what is said
        self._where: set[str] = set()
        self._fatal = False
        self._checks: list[dg.AssetCheckEvaluation] = []
        self._faults: dict[str, str] = {}
        self._not_run = self._skipped = 0
        self._may_report = False

    def take(self, record: logging.LogRecord) -> str | None:
        """What to show of `record` instead of its message, nothing of what is told at the end; None: its message."""
        known: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        event, step = known.get("dagster_event"), known.get("step_key") or ""
        if event is None:
            said = str(known.get("orig_message"))
            not_executed, skipped = _NOT_EXECUTED.fullmatch(said), bool(_SKIPPED.fullmatch(said))
            if not_executed:
                self._not_run += 1
                self._may_report |= not_executed[1] == REPORT and not any(name in not_executed[2] for name in NEEDED)
            self._skipped += skipped
            return "" if not_executed or skipped else None
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR:
                self._checks.append(check)
                self._fatal |= _has_fatal(check.metadata)
            return None
        return self._take_error(event, step) if _error(event) else None

    def _take_error(self, event: dg.DagsterEvent, step: str) -> str:
        """Remember the error of `event`; what to show of it now."""
        error = _error(event)
        if event.event_type in _ENDS and self._failed:
            return ""  # it repeats the error of the first step that failed
        event = getattr(event.event_specific_data, "first_step_failure_event", None) or event
        words = words_of(event)
        if event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            wait = readable_time(event.step_retry_data.seconds_to_wait or 0)
            first = "\n".join((words or error.message.strip()).splitlines()[:2])
            return f"{first}\nIt is tried again in {wait}."
        if words is None:
            self._faults[step] = _within(error).message.strip().splitlines()[0]
            return f"{event.message}\n{getattr(event.event_specific_data, 'error_display_string', error.to_string())}"
        if words:
            failure = getattr(event.event_specific_data, "user_failure_data", None)
            metadata = failure.metadata if failure else {}
            self._refused.setdefault(words, _Refused(step, words, findings_in(metadata)))
            self._where |= {where for _, where in _findings(metadata)}
            self._fatal |= _has_fatal(metadata)
        return ""

    @property
    def _failed(self) -> bool:
        return bool(self._refused or self._checks or self._faults)

    def block(self, record: logging.LogRecord) -> str:
        """All that was refused, or that nothing had to be done, if `record` is of the end of the run."""
        known: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        event = known.get("dagster_event")
        if event is None or event.event_type not in _ENDS:
            return ""
        if not self._failed:
            return f"{_NOTHING_TO_DO}: {counted(self._skipped, 'step')}." if self._skipped else ""
        head = "Done, but checks failed." if event.event_type == dg.DagsterEventType.RUN_SUCCESS else "Not done."
        return "\n".join([f"{head} The UI has the whole log, of run {known['run_id']}.", *self._lines()])

    def _lines(self) -> Iterator[str]:
        refused = list(self._refused.values())
        for number, each in enumerate(refused):
            first, *others = each.lines(refused[:number], refused[number + 1 :])
            yield from ["", f"{each.step and f'{each.step}: '}{first}", *others]
        for check in self._checks:
            yield from self._lines_of_check(check)
        for step, fault in self._faults.items():
            yield from ["", f"{step and f'{step}: '}{fault} (its trace is above)"]
        if self._not_run:
            yield from ["", f"Not run because of that: {counted(self._not_run, 'step')}."]
        if self._may_report:
            yield f"The report can be made of what is there: {render(Materialize((REPORT,)))}"

    def _lines_of_check(self, check: dg.AssetCheckEvaluation) -> Iterator[str]:
        """What `check` found, but of files that were named before."""
        name = f"{check.asset_key.to_user_string()}, check {check.check_name}"
        findings = _findings(check.metadata)
        new = [(line, where) for line, where in findings if not where or where not in self._where]
        self._where |= {where for _, where in new}
        if findings and not new:
            yield f"{name}: fails, too, over what is named above."
            return
        yield from ["", f"{name}:", *(f"  {line}" for line, _ in new[:MOST_SHOWN])]
        offenders = check.metadata.get("offenders")
        left = int(getattr(offenders, "value", None) or len(findings)) - len(new[:MOST_SHOWN])
        if left:
            yield f"  ... and {left} more"
        how = check.metadata.get("how to waive")
        if how and not self._fatal:
            yield str(how.value).rstrip()


def words_of(event: dg.DagsterEvent) -> str | None:
    """The words of the refusal that `event` failed with; empty if a check has told them; None if it is a fault."""
    error = _within(_error(event))
    failure = getattr(event.event_specific_data, "user_failure_data", None)
    if error.cls_name == _CHECK_FAILED:
        return ""
    if error.cls_name in _INTERRUPTED:
        return "Interrupted. Run the same again: what was finished is kept."
    if error.cls_name == "Failure" and failure:
        return str(failure.description)
    if error.cls_name not in {kind.__name__ for kind in _kinds(Refusal)}:
        return None
    return str(failure.description) if failure else error.message.partition(": ")[2].strip()


def _kinds(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    yield kind
    for other in kind.__subclasses__():
        yield from _kinds(other)


def _within(error: Any) -> Any:
    """The first of `error` and its causes that is not Dagster's, or the last."""
    while error.cause and _OF_DAGSTER.fullmatch(error.cls_name or ""):
        error = error.cause
    return error


def _error(event: dg.DagsterEvent) -> Any:
    return getattr(event.event_specific_data, "error", None)


def _has_fatal(metadata: Mapping[str, Any]) -> bool:
    """Whether something was found that cannot be waived: then it is too early to say how to waive the rest."""
    return any(record["level"] == Level.FATAL for record in findings_in(metadata))


def _findings(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each that stops something: its line, and where it is."""
    stopping = [record for record in findings_in(metadata) if record["level"] in (Level.FATAL, Level.WAIVABLE)]
    places = [(record, str(record["path"] or record["subject"])) for record in stopping]
    return [(_line_of(record), where) for record, where in places]


def _line_of(record: Mapping[str, Any]) -> str:
    """A finding as the words of a refusal tell it."""
    where = record["path"] or record["subject"]
    return visible(f"{where and f'{where}: '}{record['problem']} -> {record['mend']}")
