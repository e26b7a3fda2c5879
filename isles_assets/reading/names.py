"""What the names in a tree mean: which of them stand for a name of the release, and how to give them that."""

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
"""Stands for a session that is none of the release's; no name that is looked up has it."""

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]")


@dataclass(frozen=True)
class Misnamed:
    """A file or folder that is to be called `right`, where nothing is; `found` is its path once those before are right.

    `origin` is its path in the tree as it is. `session`: it has another session in its name, or contains such names, or
    lies in a folder of that kind which cannot be renamed as a whole.
    """

    found: str
    right: str
    origin: str
    session: bool


@dataclass(frozen=True)
class Double:
    """A file, or a folder with `files`, that could be taken for `right`, which is there; `session` as of `Misnamed`."""

    path: str
    right: str
    session: bool
    is_folder: bool
    files: tuple[TreeFile, ...]


@dataclass(frozen=True)
class Foreign:
    """A file, or a folder with `files`, that is not of the release."""

    path: str
    is_folder: bool
    files: tuple[TreeFile, ...]


@dataclass
class Names:
    """What the names in a tree are.

    `misnamed` are in the order in which they are to be renamed, and `renamed` says of a file of the release that has
    its path only then where it is now. `ambiguous` are the files of which one could be it, by its path.
    `other_sessions` are paths with a session that is none of the release's.
    """

    misnamed: list[Misnamed] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, list[str]] = field(default_factory=dict)
    doubles: list[Double] = field(default_factory=list)
    other_sessions: list[str] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)

    def add(self, others: "Names") -> None:
        """Take in what else was found."""
        self.misnamed += others.misnamed
        self.renamed |= others.renamed
        self.ambiguous |= others.ambiguous
        self.doubles += others.doubles
        self.other_sessions += others.other_sessions
        self.foreign += others.foreign


@cache
def plain(name: str) -> str:
    """`name` without what is easily overlooked: case, Unicode form, the invisible, white space and dots at its ends."""
    seen = "".join(_seen(character) for character in unicodedata.normalize("NFKC", name))
    return re.sub(r"^\s+|[\s.]+$", "", unicodedata.normalize("NFKC", _INVISIBLE.sub("", seen).casefold()))


def _seen(character: str) -> str:
    """A dash for any kind of dash, and nothing for a control or format character."""
    category = unicodedata.category(character)
    return "-" if category == "Pd" else "" if category in ("Cc", "Cf") else character


def judge_names(release: Release, inventory: Inventory) -> Names:
    """What the names of `inventory` are, of which nothing but the paths and faults is looked at."""
    judge = _Judge(release)
    root = _Node()
    for file in inventory.values():
        root.add(file)
    judge.visit(_Visit(root, root, judge.places))
    return judge.names_in_order()


class _Node:
    """A file or a folder of the tree, and what is in it by name."""

    def __init__(self) -> None:
        self.file: TreeFile | None = None
        self.below: dict[str, _Node] = {}

    def add(self, file: TreeFile) -> None:
        node = self
        for part in file.path.split("/"):
            node = node.below.setdefault(part, _Node())
        node.file = file

    @property
    def fault(self) -> Fault | None:
        return self.file.fault if self.file else None

    @property
    def is_folder(self) -> bool:
        return bool(self.below) or self.fault in _FOLDERS

    @property
    def may_be_filled(self) -> bool:
        """Whether something can be moved into it that stays in the tree."""
        return self.file is None or self.fault in (Fault.EMPTY_FOLDER, Fault.TOO_DEEP)

    def files(self) -> Iterator[TreeFile]:
        """All files at and below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if node.file and node.fault is not Fault.EMPTY_FOLDER:
                yield node.file
            waiting += node.below.values()


class _Place:
    """A file or a folder of the release: its `name`, and what is in it by the plain forms of names."""

    def __init__(self, name: str = ""):
        self.name = name
        self.below: dict[str, _Place] = {}

    def add(self, path: str) -> None:
        place = self
        for part in path.split("/"):
            place = place.below.setdefault(plain(part), _Place(part))

    def may_be(self, node: _Node) -> bool:
        """Whether both are files, or both are folders."""
        return (node.is_folder or node.fault is Fault.LEAVES_TREE) if self.below else not node.is_folder


@dataclass(frozen=True)
class _Visit:
    """A look into `folder`, which is at `origin` and, when all before is renamed, at `here`.

    What is in it belongs to `right`, the path of `place`, where `target` is; that may be `folder` itself. `session`: it
    is another folder because of its session.
    """

    folder: _Node
    target: _Node
    place: _Place
    origin: str = ""
    here: str = ""
    right: str = ""
    session: bool = False


class _Judge:
    """Compares the tree with `places`, the release's, from the root down."""

    def __init__(self, release: Release):
        self.places = _Place()
        for path in release.expected_paths():
            self.places.add(path)
        self._names = Names()
        self._sessions = {plain(session) for session in release.sessions}
        self._meant = {session.removeprefix("ses-").lstrip("0"): session for session in self._sessions}

    def names_in_order(self) -> Names:
        """What was found. A new name that another needs for its session counts as a session's."""
        names = self._names
        paths = {path for one in names.misnamed if one.session for path in (one.found, one.right)}
        needed = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
        names.misnamed = [replace(one, session=one.session or one.right in needed) for one in names.misnamed]
        return names

    def visit(self, at: _Visit) -> None:
        places = {name: self._place_of(name, node, at.place) for name, node in at.folder.below.items()}
        claims = Counter(place.name for place in places.values() if place and not place.below)
        known = {place.name for place in at.place.below.values()} if at.folder is at.target else set()
        # What has its right name comes first, before others are moved into it.
        for name, node in sorted(at.folder.below.items(), key=lambda item: (item[0] not in known, item[0])):
            place = places[name]
            if place is None and name not in known:
                self._stranger(name, node, at)
            elif place and name in known:
                self._right(node, place, at)
            elif place:
                self._misnamed(name, node, place, at, is_sole=claims[place.name] <= 1)

    def _place_of(self, name: str, node: _Node, place: _Place) -> _Place | None:
        """What `name` in `place` stands for, whatever the case, Unicode form and zeros of its session are."""
        known = place.below.get(self._corrected(plain(name)))
        return known if known and known.may_be(node) else None

    def _corrected(self, name: str) -> str:
        return _SESSION.sub(lambda found: self._meant.get(found[1].lstrip("0"), _UNKNOWN), name)

    def _right(self, node: _Node, place: _Place, at: _Visit) -> None:
        origin, right = _join(at.origin, place.name), _join(at.right, place.name)
        if place.below:
            self.visit(_Visit(node, node, place, origin, right, right))
        elif origin != right:
            self._names.renamed[right] = origin

    def _misnamed(self, name: str, node: _Node, place: _Place, at: _Visit, *, is_sole: bool) -> None:
        there = at.target.below.get(place.name)
        session = at.session or plain(name) != plain(place.name)
        origin, here, right = _join(at.origin, name), _join(at.here, name), _join(at.right, place.name)
        if there is None and not is_sole:
            self._names.ambiguous.setdefault(right, []).append(origin)
        elif there is None:
            self._names.misnamed.append(Misnamed(here, right, origin, session))
            at.target.below[place.name] = node
            if place.below:
                self.visit(_Visit(node, node, place, origin, right, right))
            else:
                self._names.renamed[right] = origin
        elif place.below and there.may_be_filled:
            self._merge(_Visit(node, there, place, origin, here, right, session))
        else:
            self._names.doubles.append(Double(origin, right, session, node.is_folder, tuple(node.files())))

    def _merge(self, at: _Visit) -> None:
        """Judge what is in a second folder: as a whole, if nothing in it is missing in the right one."""
        names, self._names = self._names, Names()
        self.visit(at)
        parts, self._names = self._names, names
        files = tuple(at.folder.files())
        if parts.misnamed or parts.ambiguous:
            names.add(parts)
        elif files:
            names.doubles.append(Double(at.origin, at.right, at.session, True, files))

    def _stranger(self, name: str, node: _Node, at: _Visit) -> None:
        """Note what has no place in the release, unless its session alone is why."""
        origin, corrected, files = _join(at.origin, name), self._corrected(plain(name)), tuple(node.files())
        others = (at.place.below.get(_SESSION.sub(session, corrected)) for session in sorted(self._sessions))
        place = next((other for other in others if other and other.may_be(node)), None)
        is_session = node.is_folder and corrected == _UNKNOWN and self._sessions & at.place.below.keys()
        if is_session or (place and _UNKNOWN in corrected):
            self._names.other_sessions.append(origin)
        elif place and not place.below:
            self._names.doubles.append(Double(origin, _join(at.right, place.name), False, False, files))
        elif files:
            self._names.foreign.append(Foreign(origin, node.is_folder, files))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
