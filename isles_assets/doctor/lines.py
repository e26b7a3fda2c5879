"""A line of the examination: what was looked at, whether a run can succeed with it, and what to do if not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from isles_assets.lib.findings import Finding, Mend, Refusal
from isles_assets.lib.words import counted


class Topic(StrEnum):
    """What a line is about."""

    SETTINGS = "settings"
    VERSIONS = "versions"
    FOLDER = "data folder"
    ZENODO = "Zenodo"
    LISTING = "listing"
    TREE = "tree"
    TARGET = "target"
    INSTANCE = "instance"


class Status(StrEnum):
    """What follows from a line."""

    FINE = "fine"
    NOTE = "note"
    """To know about. A run can succeed."""

    BLOCKER = "blocker"
    """A run with these settings fails."""


@dataclass(frozen=True)
class Line:
    """One line of the examination."""

    topic: Topic
    status: Status
    what: str
    mend: Mend = ""
    """What to do; empty if there is nothing to do."""


def fine(topic: Topic, what: str) -> Line:
    """Return a line about something that is as it should be."""
    return Line(topic, Status.FINE, what)


def lines_of(topic: Topic, status: Status, refusal: Refusal) -> list[Line]:
    """Return a line for each finding of `refusal`."""
    findings = refusal.findings or (Finding(refusal.headline, "see the log"),)
    return [Line(topic, status, finding.without_mend(), finding.mend) for finding in findings]


def line_of_findings(topic: Topic, status: Status, what: str, findings: Sequence[Finding]) -> Line:
    """Return one line for several findings of one kind: their number, and the first with its mend."""
    first, *others = findings
    more = f", and {len(others)} more" if others else ""
    return Line(topic, status, f"{what}: {first.without_mend()}{more}", first.mend)


def blockers(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that a run would fail for."""
    return [line for line in lines if line.status is Status.BLOCKER]


def verdict(lines: Sequence[Line]) -> str:
    """Return the outcome in one sentence."""
    notes = sum(line.status is Status.NOTE for line in lines)
    if stopping := blockers(lines):
        return f"A run would fail: {counted(len(stopping), 'blocker')}, {counted(notes, 'note')}."
    return f"Nothing stands in the way of a run; {counted(notes, 'note')}."
