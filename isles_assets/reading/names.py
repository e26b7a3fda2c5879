"""Matching the names in a tree with those of the release: which file is meant, and how to rename it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import PurePosixPath

from isles_assets.reading.tree import Fault, Inventory, TreeFile
from isles_assets.release.release import Release

_FOLDERS = {
    Fault.LINKED_FOLDER, Fault.FOLDER, Fault.EMPTY_FOLDER, Fault.UNLISTED, Fault.TOO_DEEP,
}  # fmt: skip
"""Faults of folders."""

_SESSION = re.compile("(?<![^_])ses-([^_.]+)")
_UNKNOWN = "ses-?"
"""Stands for any session that is not in the release; no name of the release has it."""

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]")


@dataclass(frozen=True)
class Misnamed:
    """A file or folder to rename from `old` to `right`, where nothing is."""

    old: str
    """Its path once all renames before this one are done."""

    right: str
    """The path that the release has for it."""

    origin: str
    """Its path in the tree now."""

    session: bool
    """Whether a session is wrong: in its name, in names in it, or in a folder around it that cannot be renamed."""


@dataclass(frozen=True)
class Double:
    """A file, or a folder with `files`, that could be taken for `right`, although `right` exists."""

    path: str
    right: str
    session: bool
    """As of `Misnamed`."""

    is_folder: bool
    files: tuple[TreeFile, ...]


@dataclass(frozen=True)
class Foreign:
    """A file, or a folder with `files`, that does not belong to the release."""

    path: str
    is_folder: bool
    files: tuple[TreeFile, ...]


@dataclass
class Names:
    """The judgement on the names in a tree. Names that are right do not appear."""

    misnamed: list[Misnamed] = field(default_factory=list)
    """In the order in which to rename them."""

    renamed: dict[str, str] = field(default_factory=dict)
    """Path in the tree now, by path in the release, of each file that only a rename brings to its place."""

    ambiguous: dict[str, list[str]] = field(default_factory=dict)
    """Candidates for a file of the release, by its path; only one of them can be it."""

    doubles: list[Double] = field(default_factory=list)
    other_sessions: list[str] = field(default_factory=list)
    """Paths with a session that is not in the release."""

    foreign: list[Foreign] = field(default_factory=list)

    def add(self, others: "Names") -> None:
        """Add all entries of `others`."""
        self.misnamed += others.misnamed
        self.renamed |= others.renamed
        self.ambiguous |= others.ambiguous
        self.doubles += others.doubles
        self.other_sessions += others.other_sessions
        self.foreign += others.foreign


@cache
def plain(name: str) -> str:
    """Return `name` without what is easily overlooked.

    That is case, Unicode form, invisible characters, and white space and dots at its ends.
    """
    visible = "".join(_visible(char) for char in unicodedata.normalize("NFKC", name))
    return re.sub(r"^\s+|[\s.]+$", "", unicodedata.normalize("NFKC", _INVISIBLE.sub("", visible).casefold()))


def _visible(char: str) -> str:
    """Return "-" for any kind of dash, and nothing for a control or format character."""
    category = unicodedata.category(char)
    return "-" if category == "Pd" else "" if category in ("Cc", "Cf") else char


def judge_names(release: Release, inventory: Inventory) -> Names:
    """Judge the names in `inventory`. Only paths and faults matter, not sizes or times."""
    judge = _Judge(release)
    root = _Node()
    for file in inventory.values():
        root.add(file)
    judge.visit(_Visit(root, root, judge.places))
    return judge.names_in_order()


class _Node:
    """A file or folder of the tree, and its children by name."""

    def __init__(self) -> None:
        self.file: TreeFile | None = None
        self.children: dict[str, _Node] = {}

    def add(self, file: TreeFile) -> None:
        node = self
        for part in file.path.split("/"):
            node = node.children.setdefault(part, _Node())
        node.file = file

    @property
    def fault(self) -> Fault | None:
        return self.file.fault if self.file else None

    @property
    def is_folder(self) -> bool:
        return bool(self.children) or self.fault in _FOLDERS

    @property
    def accepts_files(self) -> bool:
        """Whether files can be moved into it and stay in the tree."""
        return self.file is None or self.fault in (Fault.EMPTY_FOLDER, Fault.TOO_DEEP)

    def files(self) -> Iterator[TreeFile]:
        """Yield all files at and below this node."""
        pending = [self]
        while pending:
            node = pending.pop()
            if node.file and node.fault is not Fault.EMPTY_FOLDER:
                yield node.file
            pending += node.children.values()


class _Place:
    """A file or folder of the release: its `name`, and its children by the plain forms of their names."""

    def __init__(self, name: str = ""):
        self.name = name
        self.children: dict[str, _Place] = {}

    def add(self, path: str) -> None:
        place = self
        for part in path.split("/"):
            place = place.children.setdefault(plain(part), _Place(part))

    def fits(self, node: _Node) -> bool:
        """Return whether both are files, or both are folders."""
        return (node.is_folder or node.fault is Fault.LEAVES_TREE) if self.children else not node.is_folder


@dataclass(frozen=True)
class _Visit:
    """The comparison of one `folder` of the tree with a `place` of the release."""

    folder: _Node
    target: _Node
    """The folder at `right`, where the contents belong; perhaps `folder` itself."""

    place: _Place
    origin: str = ""
    """Path of `folder` in the tree now."""

    old: str = ""
    """Path of `folder` once all renames so far are done."""

    right: str = ""
    """Path of `place`."""

    session: bool = False
    """Whether `folder` differs from `target` because of its session."""


class _Judge:
    """The comparison of a tree with `places`, the files and folders of the release, from the root down."""

    def __init__(self, release: Release):
        self.places = _Place()
        for path in release.expected_paths():
            self.places.add(path)
        self._names = Names()
        self._sessions = {plain(session) for session in release.sessions}
        self._meant = {session.removeprefix("ses-").lstrip("0"): session for session in self._sessions}

    def names_in_order(self) -> Names:
        """Return the judgement. A rename that one for a session depends on counts as one for a session."""
        names = self._names
        paths = {path for one in names.misnamed if one.session for path in (one.old, one.right)}
        needed = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
        names.misnamed = [replace(one, session=one.session or one.right in needed) for one in names.misnamed]
        return names

    def visit(self, visit: _Visit) -> None:
        """Judge all names in the folder of `visit`, and below."""
        places = {name: self._place_of(name, node, visit.place) for name, node in visit.folder.children.items()}
        claims = Counter(place.name for place in places.values() if place and not place.children)
        right_names = {place.name for place in visit.place.children.values()} if visit.folder is visit.target else set()
        # Files with the right name come first, before others are moved to them.
        for name, node in sorted(visit.folder.children.items(), key=lambda item: (item[0] not in right_names, item[0])):
            place = places[name]
            if place is None and name not in right_names:
                self._judge_stranger(name, node, visit)
            elif place and name in right_names:
                self._judge_right(node, place, visit)
            elif place:
                self._judge_misnamed(name, node, place, visit, is_sole=claims[place.name] <= 1)

    def _place_of(self, name: str, node: _Node, parent: _Place) -> _Place | None:
        """Return the place in `parent` that `name` stands for, whatever its case, Unicode form and session zeros."""
        place = parent.children.get(self._corrected(plain(name)))
        return place if place and place.fits(node) else None

    def _corrected(self, name: str) -> str:
        """Return `name` with the sessions of the release, or `_UNKNOWN` for others."""
        return _SESSION.sub(lambda match: self._meant.get(match[1].lstrip("0"), _UNKNOWN), name)

    def _judge_right(self, node: _Node, place: _Place, visit: _Visit) -> None:
        origin, right = _join(visit.origin, place.name), _join(visit.right, place.name)
        if place.children:
            self.visit(_Visit(node, node, place, origin, right, right))
        elif origin != right:
            self._names.renamed[right] = origin

    def _judge_misnamed(self, name: str, node: _Node, place: _Place, visit: _Visit, *, is_sole: bool) -> None:
        occupant = visit.target.children.get(place.name)
        session = visit.session or plain(name) != plain(place.name)
        origin, old, right = _join(visit.origin, name), _join(visit.old, name), _join(visit.right, place.name)
        if occupant is None and not is_sole:
            self._names.ambiguous.setdefault(right, []).append(origin)
        elif occupant is None:
            self._names.misnamed.append(Misnamed(old, right, origin, session))
            visit.target.children[place.name] = node
            if place.children:
                self.visit(_Visit(node, node, place, origin, right, right))
            else:
                self._names.renamed[right] = origin
        elif place.children and occupant.accepts_files:
            self._judge_second_folder(_Visit(node, occupant, place, origin, old, right, session))
        else:
            self._names.doubles.append(Double(origin, right, session, node.is_folder, tuple(node.files())))

    def _judge_second_folder(self, visit: _Visit) -> None:
        """Judge a second folder for one place: each file if the right folder lacks one of them, else the whole."""
        names, self._names = self._names, Names()
        self.visit(visit)
        parts, self._names = self._names, names
        files = tuple(visit.folder.files())
        if parts.misnamed or parts.ambiguous:
            names.add(parts)
        elif files:
            names.doubles.append(Double(visit.origin, visit.right, visit.session, True, files))

    def _judge_stranger(self, name: str, node: _Node, visit: _Visit) -> None:
        """Judge a name that stands for nothing in the release, perhaps because of its session."""
        origin, corrected, files = _join(visit.origin, name), self._corrected(plain(name)), tuple(node.files())
        others = (visit.place.children.get(_SESSION.sub(session, corrected)) for session in sorted(self._sessions))
        place = next((other for other in others if other and other.fits(node)), None)
        is_session = node.is_folder and corrected == _UNKNOWN and self._sessions & visit.place.children.keys()
        if is_session or (place and _UNKNOWN in corrected):
            self._names.other_sessions.append(origin)
        elif place and not place.children:
            self._names.doubles.append(Double(origin, _join(visit.right, place.name), False, False, files))
        elif files:
            self._names.foreign.append(Foreign(origin, node.is_folder, files))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
