"""Findings and refusals: what is wrong, where, and what to do next.

A check returns findings; work that must stop raises `Refusal` with them. What to do is a value, because only `graph`
and `cli` know the commands that people type. Nothing of Dagster or of a release belongs here.
"""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

MOST_SHOWN = 20


@dataclass(frozen=True)
class Materialize:
    """A mend: make `assets` again, all of them if it is empty; only of `subject` unless that is empty."""

    assets: tuple[str, ...] = ()
    subject: str = ""

    def __str__(self) -> str:
        return f"materialize {', '.join(self.assets) or 'everything'}{self.subject and f' of {self.subject}'}"


@dataclass(frozen=True)
class Rename:
    """A mend: move the file or folder at `old` to `new`, where nothing is. It never replaces anything."""

    old: str
    new: str

    def __str__(self) -> str:
        return f"mv -n -- {_quoted(self.old)} {_quoted(self.new)}"


def _quoted(path: str) -> str:
    """Return `path` as a shell word of printable characters, because messages escape all others."""
    if path.isprintable():
        return shlex.quote(path)
    safe = "/_-. "
    parts = (
        c if (c.isascii() and c.isalnum()) or c in safe else "".join(f"\\0{b:03o}" for b in c.encode()) for c in path
    )
    return f"\"$(printf %b '{''.join(parts)}')\""


Step = str | Materialize | Rename
"""One thing to do: in words, or as a value that `graph` and `cli` render as a command."""


@dataclass(frozen=True)
class InOrder:
    """A mend: all `steps`, one after the other."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "; then ".join(map(str, self.steps))


Mend = Step | InOrder
"""What to do: a step, or several in order."""

Render = Callable[[Mend], str]


class Level(StrEnum):
    """The consequence of a finding. `release.problems` gives each kind of problem its level."""

    FATAL = "fatal"
    """Certainly not the release, or damaged: never published."""

    WAIVABLE = "waivable"
    """Not as expected: stops publication until a waiver covers it."""

    NOTE = "note"
    """Reported; stops nothing."""


@dataclass(frozen=True)
class Finding:
    """One offence against one property. Fields that do not apply are empty."""

    problem: str
    mend: Mend
    path: str = ""
    """Path relative to the tree or data folder, or a setting, a repo, an address."""

    subject: str = ""
    level: Level = Level.FATAL
    code: str = ""
    """The kind of problem; holds no text of the release."""

    found: str = ""
    """Text that a waiver has to name: the code, then the details that tell this problem from a later one of its kind.

    It holds no text of the release.
    """

    property: str = ""
    """The name of the property; empty where none applies, as for a setting."""

    def text(self, render: Render = str) -> str:
        """Return one line for people; `render` words the mend."""
        return f"{self.without_mend()} -> {visible(render(self.mend))}"

    def without_mend(self) -> str:
        """Return where the problem is and which it is."""
        where = self.path or self.subject
        return visible(f"{where and f'{where}: '}{self.problem}")

    def __str__(self) -> str:
        return self.text()


class Refusal(Exception):  # noqa: N818 - an answer, not an error of the program
    """The work was refused, and nothing already done was lost. `closing` gives advice for all findings together."""

    def __init__(self, headline: str, findings: Sequence[Finding] = (), closing: str = ""):
        super().__init__(headline, tuple(findings), closing)  # pickle needs all arguments
        self.headline = headline
        self.findings = tuple(findings)
        self.closing = closing

    @classmethod
    def of(cls, headline: str, problem: str, mend: Mend, *, path: object = "", subject: str = "") -> Self:
        """Return a refusal with one finding."""
        return cls(headline, [Finding(problem, mend, str(path), subject)])

    def text(self, render: Render = str) -> str:
        """Return the headline, one line for each finding, and the closing."""
        lines = "\n  ".join([self.headline, *summarize(self.findings, render=render)])
        return f"{lines}\n{self.closing}" if self.closing else lines

    def __str__(self) -> str:
        return self.text()


class TransientRefusal(Refusal):
    """A refusal for a reason that may pass by itself: the same work may succeed later."""

    pause: float | None = None
    """Seconds to wait before the next attempt; None if the server names none."""


def visible(text: str) -> str:
    """Return `text`, which may come from files, with escapes for characters that are invisible or move the cursor."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


def findings_of(find: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return the findings that `find` returns or, if it refuses, those of its refusal."""
    try:
        return list(find())
    except Refusal as refusal:
        return list(refusal.findings) or [Finding(refusal.headline, "see the log")]


def summarize(findings: Sequence[Finding], most: int = MOST_SHOWN, *, render: Render = str) -> list[str]:
    """Return one line for each of the first `most` findings, and one with the number of the others."""
    lines = [finding.text(render) for finding in findings[:most]]
    if len(findings) > most:
        lines.append(f"... and {len(findings) - most} more")
    return lines


def name_some(names: Sequence[str], most: int = 10) -> str:
    """Return `names` as a phrase: all of them, or the first `most` and the number of the others."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
