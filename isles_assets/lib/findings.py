"""What is wrong, where, and what to do next: the one form in which the package speaks of trouble.

A check returns findings; whatever must stop raises `Refusal` with them. What to do is a value, because only `graph`
and `cli` know the commands that people type there. Nothing of Dagster or of a release belongs here.
"""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

MOST_SHOWN = 20


@dataclass(frozen=True)
class Materialize:
    """A mend: make `assets` again (none: all of them), of one `subject` only if that is given."""

    assets: tuple[str, ...] = ()
    subject: str = ""

    def __str__(self) -> str:
        return f"materialize {', '.join(self.assets) or 'everything'}{self.subject and f' of {self.subject}'}"


@dataclass(frozen=True)
class Rename:
    """A mend: give the file or folder at `found` the path `right`."""

    found: str
    right: str

    def __str__(self) -> str:
        return f"mv {shlex.quote(self.found)} {shlex.quote(self.right)}"


Mend = str | Materialize | Rename
"""What to do: in words, or as a value that is rendered as a command where people can type it."""

Render = Callable[[Mend], str]


@dataclass(frozen=True)
class Finding:
    """One offence against one property.

    `path` (relative to the tree or data folder, or the name of a setting, a repo, an address) and `subject` are empty
    where they do not apply. A finding that is not `fatal` is reported and stops nothing.
    """

    problem: str
    mend: Mend
    path: str = ""
    subject: str = ""
    fatal: bool = True

    def text(self, render: Render = str) -> str:
        """One line for people, the mend as `render` says it."""
        where = self.path or self.subject
        return f"{where and f'{where}: '}{self.problem} -> {render(self.mend)}"

    def __str__(self) -> str:
        return self.text()


class Refusal(Exception):  # noqa: N818 - it is no accident but an answer
    """The work was refused and nothing already done was lost."""

    def __init__(self, headline: str, findings: Sequence[Finding] = ()):
        super().__init__(headline, tuple(findings))
        self.headline = headline
        self.findings = tuple(findings)

    @classmethod
    def of(cls, headline: str, problem: str, mend: Mend, *, path: object = "", subject: str = "") -> Self:
        """A refusal for one reason; of a `path` as text."""
        return cls(headline, [Finding(problem, mend, str(path), subject)])

    def text(self, render: Render = str) -> str:
        """The headline, and a line for each reason."""
        return "\n  ".join([self.headline, *summarize(self.findings, render=render)])

    def __str__(self) -> str:
        return self.text()


def found(find: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings that `find` returns or, if it refuses, those of the refusal."""
    try:
        return list(find())
    except Refusal as refusal:
        return list(refusal.findings) or [Finding(refusal.headline, "see the log")]


def fatal(findings: Sequence[Finding]) -> list[Finding]:
    """Those of `findings` that must stop the work."""
    return [finding for finding in findings if finding.fatal]


def summarize(findings: Sequence[Finding], most: int = MOST_SHOWN, *, render: Render = str) -> list[str]:
    """One line a finding, at most `most` of them and then the number left out."""
    lines = [finding.text(render) for finding in findings[:most]]
    if len(findings) > most:
        lines.append(f"... and {len(findings) - most} more")
    return lines


def name_some(names: Sequence[str], most: int = 10) -> str:
    """`names` as a phrase: all of them, or the first `most` and how many more."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
