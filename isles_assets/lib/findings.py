"""What is wrong, where, and what to do next: the one form in which the package speaks of trouble.

A check returns findings; whatever must stop raises `Refusal` with them. No Dagster here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MOST_SHOWN = 20


@dataclass(frozen=True, order=True)
class Finding:
    """One offence against one property.

    `subject` and `path` (relative to the tree or data folder) are empty where they do not apply. A finding
    that is not `fatal` is reported and stops nothing.
    """

    subject: str
    path: str
    problem: str
    mend: str
    fatal: bool = True

    def __str__(self) -> str:
        where = self.path or self.subject
        return f"{where}: {self.problem} -> {self.mend}" if where else f"{self.problem} -> {self.mend}"


class Refusal(Exception):  # noqa: N818 - it is no accident but an answer
    """The work was refused and nothing already done was lost."""

    def __init__(self, headline: str, findings: Sequence[Finding] = ()):
        super().__init__(headline, tuple(findings))
        self.headline = headline
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "\n  ".join([self.headline, *summarize(self.findings)])


def found(find: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What `find` finds, or what keeps it from looking."""
    try:
        return list(find())
    except Refusal as refusal:
        return list(refusal.findings) or [Finding("", "", refusal.headline, "see the log")]


def fatal(findings: Sequence[Finding]) -> list[Finding]:
    """Those of `findings` that must stop the work."""
    return [finding for finding in findings if finding.fatal]


def summarize(findings: Sequence[Finding], most: int = MOST_SHOWN) -> list[str]:
    """One line a finding, at most `most` of them and then the number left out."""
    lines = [str(finding) for finding in findings[:most]]
    if len(findings) > most:
        lines.append(f"... and {len(findings) - most} more")
    return lines


def name_some(names: Sequence[str], most: int = 10) -> str:
    """`names` as a phrase: all of them, or the first `most` and how many more."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
