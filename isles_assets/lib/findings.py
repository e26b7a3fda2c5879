"""What is wrong, where, and what to do next: the one form in which the package speaks of trouble.

A check returns findings; whatever must stop raises `Refusal` with them. What to do is a value, because only `graph`
and `cli` know the commands that people type there. Nothing of Dagster or of a release belongs here.
"""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
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
    """A mend: give the file or folder at `found` the path `right`, where nothing is. It never replaces anything."""

    found: str
    right: str

    def __str__(self) -> str:
        return f"mv -n -- {_quoted(self.found)} {_quoted(self.right)}"


def _quoted(path: str) -> str:
    """`path` as a word for a shell, without a character that cannot be seen, for such are escaped in messages."""
    if path.isprintable():
        return shlex.quote(path)
    plain = "/_-. "
    parts = (
        c if (c.isascii() and c.isalnum()) or c in plain else "".join(f"\\0{b:03o}" for b in c.encode()) for c in path
    )
    return f"\"$(printf %b '{''.join(parts)}')\""


Step = str | Materialize | Rename
"""One thing to do: in words, or as a value that is rendered as a command where people can type it."""


@dataclass(frozen=True)
class InOrder:
    """A mend: the whole way back, `steps` one after the other."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "; then ".join(map(str, self.steps))


Mend = Step | InOrder
"""What to do: a step, or several in order."""

Render = Callable[[Mend], str]


class Level(StrEnum):
    """What follows from a finding. `release.problems` says which level a kind of problem has."""

    FATAL = "fatal"
    """Certainly not the release, or damaged: it is never published."""

    WAIVABLE = "waivable"
    """Unlike what is expected: it stops publication until a waiver covers it."""

    NOTE = "note"
    """Told, and stops nothing."""


@dataclass(frozen=True)
class Finding:
    """One offence against one property.

    `path` (relative to the tree or data folder, or the name of a setting, a repo, an address) and `subject` are empty
    where they do not apply. `code` is the kind of problem, and `found` what a waiver has to name: the code, and what
    was found if that tells one such problem from a later one. Neither holds text of the release. `property` is the
    name of the property that it offends; empty for what no property is about, such as a setting.
    """

    problem: str
    mend: Mend
    path: str = ""
    subject: str = ""
    level: Level = Level.FATAL
    code: str = ""
    found: str = ""
    property: str = ""

    def text(self, render: Render = str) -> str:
        """One line for people, the mend as `render` says it."""
        return f"{self.stated()} -> {visible(render(self.mend))}"

    def stated(self) -> str:
        """Where and what, without the mend."""
        where = self.path or self.subject
        return visible(f"{where and f'{where}: '}{self.problem}")

    def __str__(self) -> str:
        return self.text()


class Refusal(Exception):  # noqa: N818 - it is no accident but an answer
    """The work was refused and nothing already done was lost. `closing` says what can be done about all of it."""

    def __init__(self, headline: str, findings: Sequence[Finding] = (), closing: str = ""):
        super().__init__(headline, tuple(findings), closing)  # as it is pickled
        self.headline = headline
        self.findings = tuple(findings)
        self.closing = closing

    @classmethod
    def of(cls, headline: str, problem: str, mend: Mend, *, path: object = "", subject: str = "") -> Self:
        """A refusal for one reason; of a `path` as text."""
        return cls(headline, [Finding(problem, mend, str(path), subject)])

    def text(self, render: Render = str) -> str:
        """The headline, a line for each reason, and the closing."""
        lines = "\n  ".join([self.headline, *summarize(self.findings, render=render)])
        return f"{lines}\n{self.closing}" if self.closing else lines

    def __str__(self) -> str:
        return self.text()


class MayPass(Refusal):
    """A refusal for a reason that may be gone at another time: the work may be tried again as it is."""

    pause: float | None = None
    """Seconds to wait before that, where the server asks for it."""


def visible(text: str) -> str:
    """`text` with escapes for what cannot be seen or moves the cursor: it may hold names and text from files."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )


def found(find: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings that `find` returns or, if it refuses, those of the refusal."""
    try:
        return list(find())
    except Refusal as refusal:
        return list(refusal.findings) or [Finding(refusal.headline, "see the log")]


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
