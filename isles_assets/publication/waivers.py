"""Waivers: the operator's file, what a waiver covers, and the lines that waive findings."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from isles_assets.lib.findings import Finding, Level, Refusal
from isles_assets.publication.property import property_names
from isles_assets.release.problems import Problem
from isles_assets.release.release import Release
from isles_assets.release.waivers import Waiver

_NOT_READ = "The waivers cannot be used."
_TYPES: Mapping[str, type] = dict.fromkeys(("release", "property", "subject", "path", "found", "reason"), str) | {
    "count": int
}
_REQUIRED = ("release", "property", "found", "reason")
_TEXT, _INT = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int"
_NAMED_ONE_BY_ONE = 10
"""Findings of one kind that get a waiver each; more of them share one, with their count."""

_REASON = "looked at, and published as it is in the release"


@dataclass(frozen=True)
class Judgement:
    """The findings by what follows from them.

    Attributes:
        stopping: Findings that stop publication.
        waived: Findings that a waiver covers, each with its waiver.
        notes: Findings that stop nothing.
        looked_at: What the check looked at; may be empty.
    """

    stopping: tuple[Finding, ...] = ()
    waived: tuple[tuple[Finding, Waiver], ...] = ()
    notes: tuple[Finding, ...] = ()
    looked_at: str = ""

    @property
    def levelled(self) -> list[tuple[Finding, str, str]]:
        """Each finding with its level, or `waived`, and the reason of its waiver or an empty text; the worst first."""
        return [
            *((finding, str(finding.level), "") for finding in self.stopping),
            *((finding, "waived", waiver.reason) for finding, waiver in self.waived),
            *((finding, str(finding.level), "") for finding in self.notes),
        ]


NOTHING_FOUND = Judgement()


def judge(release: Release, findings: Sequence[Finding], waivers: Iterable[Waiver]) -> Judgement:
    """Return the judgement on `findings` under those of `waivers` that name this version of the release.

    Args:
        release: The release that the findings are on.
        findings: All findings of one property or more. A waiver with a count needs to see all of its property.
        waivers: Waivers of any release.
    """
    counts = Counter((finding.property, finding.code) for finding in findings)
    # A waiver with a count covers all findings of a kind, or none: a new finding must not hide behind known ones.
    of_release = [waiver for waiver in waivers if waiver.release == release.version]
    valid = [w for w in of_release if w.count is None or counts[w.property, w.found] <= w.count]
    covered = {finding: next((w for w in valid if _covers(w, finding)), None) for finding in findings}
    return Judgement(
        tuple(f for f, waiver in covered.items() if f.level is not Level.NOTE and not waiver),
        tuple((f, waiver) for f, waiver in covered.items() if waiver),
        tuple(f for f in covered if f.level is Level.NOTE),
    )


def _covers(waiver: Waiver, finding: Finding) -> bool:
    if finding.level is not Level.WAIVABLE or waiver.property != finding.property:
        return False
    if waiver.count is not None:
        return waiver.found == finding.code
    same_place = (waiver.subject, waiver.path) == (finding.subject, finding.path)
    return same_place and waiver.found in (finding.code, finding.found)


def unused(release: Release, findings: Sequence[Finding], waivers: Iterable[Waiver]) -> Iterator[Finding]:
    """Yield a note for each of `waivers` that covers none of `findings`, which are all findings of its property."""
    mend = "remove it; or see why what it names is not found any more"
    for waiver in waivers:
        if not judge(release, findings, [waiver]).waived:
            problem = f"a waiver of {waiver.found!r} in release {waiver.release} covers nothing"
            yield replace(
                Problem.WAIVER_UNUSED.finding(problem, mend, path=waiver.path, subject=waiver.subject),
                property=waiver.property,
            )


def lines_to_waive(release: Release, findings: Iterable[Finding]) -> str:
    """Return the lines of `waivers.yaml` that cover the waivable ones of `findings`; empty if there are none."""
    waivable = [finding for finding in findings if finding.level is Level.WAIVABLE and finding.property]
    counts = Counter((finding.property, finding.code) for finding in waivable)
    waivers = dict.fromkeys(
        _waiver(release, finding)
        if (count := counts[finding.property, finding.code]) <= _NAMED_ONE_BY_ONE
        else Waiver(release.version, finding.property, finding.code, _REASON, count=count)
        for finding in waivable
    )
    return "".join(_lines(waiver) for waiver in waivers)


def _waiver(release: Release, finding: Finding) -> Waiver:
    return Waiver(release.version, finding.property, finding.found, _REASON, finding.subject, finding.path)


def _lines(waiver: Waiver) -> str:
    given = {name: value for name, value in asdict(waiver).items() if value not in ("", None)}
    ordered = {name: given[name] for name in _TYPES if name in given}
    return yaml.safe_dump([ordered], sort_keys=False, allow_unicode=True, width=10_000)


def how_to_waive(release: Release, findings: Iterable[Finding], path: Path) -> str:
    """Return how to waive `findings`: the lines to add, and the file; empty if none can be waived."""
    lines = lines_to_waive(release, findings)
    return lines and f"To publish it as it is, add these lines to {path}, with a reason in your own words:\n{lines}"


def read_waivers(path: Path) -> list[Waiver]:
    """Return the waivers in the YAML file at `path`; none if there is no file.

    Raises:
        Refusal: The file cannot be read or is no YAML, or it has lines with an unknown or repeated key, a value of
            another type, an unknown property, or a waiver without release, property, found or reason. Names each line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Refusal.of(_NOT_READ, f"cannot be read: {error}", "see ISLES_WAIVERS", path=path) from error
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise Refusal.of(_NOT_READ, f"is no YAML: {error}", "correct the file", path=path) from error
    if document is None:
        return []
    reader = _Reader(path)
    waivers = reader.waivers(document)
    if reader.findings:
        raise Refusal(_NOT_READ, reader.findings)
    return waivers


class _Reader:
    """Reads waivers from YAML nodes, and collects a finding with its line for each mistake."""

    def __init__(self, path: Path):
        self.path = path
        self.findings: list[Finding] = []

    def waivers(self, document: yaml.Node) -> list[Waiver]:
        if not isinstance(document, yaml.SequenceNode):
            self._note(document, "is no list of waivers, each of which begins with `- `")
            return []
        return [waiver for node in document.value if (waiver := self._waiver(node))]

    def _waiver(self, node: yaml.Node) -> Waiver | None:
        if not isinstance(node, yaml.MappingNode):
            self._note(node, "is no waiver, which has the lines release, property, found and reason")
            return None
        before, values = len(self.findings), {}
        for key, value in node.value:
            name = str(key.value)
            if name not in _TYPES:
                self._note(key, f"`{name}` is unknown; a waiver has {', '.join(_TYPES)}")
            elif name in values:
                self._note(key, f"`{name}` stands twice")
            else:
                values[name] = self._value(name, value)
        if missing := [name for name in _REQUIRED if name not in values]:
            self._note(node, f"has no {' and no '.join(missing)}")
        if "count" in values and values.keys() & {"subject", "path"}:
            self._note(node, "has a count, which covers all subjects, and names one subject or path")
        return Waiver(**values) if len(self.findings) == before else None

    def _value(self, name: str, node: yaml.Node) -> Any:
        is_number = _TYPES[name] is int
        fits = node.tag == (_INT if is_number else _TEXT) and bool(node.value)
        fits = fits and (not is_number or (node.value.isdecimal() and int(node.value) > 0))
        if not fits:
            said = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or a mapping"
            self._note(node, f"`{name}` is {said}, which is not {'a number from 1' if is_number else 'text in quotes'}")
        elif name == "property" and node.value not in property_names():
            self._note(node, f"{node.value!r} is no property; there are {', '.join(property_names())}")
        return int(node.value) if fits and is_number else node.value

    def _note(self, node: yaml.Node, problem: str) -> None:
        line = node.start_mark.line + 1
        self.findings.append(Finding(f"line {line}: {problem}", "correct the file", str(self.path)))
