"""Properties of the tree: which subjects, sessions and files it holds, and under which names."""

import re
import shlex
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from isles_assets.lib.findings import MOST_SHOWN, Finding, Mend, Rename
from isles_assets.lib.fingerprint import fingerprint
from isles_assets.lib.words import counted
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties.words import ANOTHER, NOTHING_TO_DO, RESTORE
from isles_assets.publication.property import enforced
from isles_assets.reading.names import Foreign, Misnamed, Names, plain
from isles_assets.reading.tree import Fault, Inventory
from isles_assets.release.problems import Problem
from isles_assets.release.release import Release

_COMPARE = "compare the two, and move the one that is not the release's out of the tree"
_ITSELF = f"replace it by the file itself, or {RESTORE}"
_OF_FILES = {
    Fault.BROKEN_LINK: _ITSELF,
    Fault.LEAVES_TREE: _ITSELF,
    Fault.LINKED_FOLDER: _ITSELF,
    Fault.UNREADABLE: "grant read rights",
    Fault.UNSEEN: "see whether the disk or mount is there",
    Fault.FOLDER: f"move the folder out of the tree, and {RESTORE}",
}
_OF_FOLDERS = {
    Fault.TOO_DEEP: "move the tree to a shorter path",
    Fault.NOT_A_FILE: f"move it out of the tree, and {RESTORE}",
    None: f"move it out of the tree, and {RESTORE}",
}
"""Mends by what stands in the place of a file or a folder. For a fault that is not named, a folder is a link."""

_LABEL = re.compile(r"(?<=[/_])ses-([0-9A-Za-z]+)(?=[/_.]|$)")
_MOST_IN_A_FOLDER = 10
_SYSTEMS = re.compile(
    r"\._.*|\.DS_Store|\.AppleDouble|\.Spotlight-V100|\.fseventsd|\.TemporaryItems|\.Trashes|__MACOSX"
    r"|Thumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information"
    r"|@eaDir|#recycle|\.snapshots?|lost\+found|\.Trash-\d+|\.directory|\.nfs[0-9a-f]+",
    re.IGNORECASE,
)
"""Names of files and folders that operating systems and network disks leave behind."""


def _subjects_looked_at(evidence: Evidence) -> str:
    release = evidence.release
    there = {release.subject_of(path) for path in evidence.inventory}.intersection(release.subjects)
    return f"{len(there)} of {len(release.subjects)} subjects"


def _names_looked_at(evidence: Evidence) -> str:
    return f"the names of {len(evidence.inventory):,} files"


def _layout_looked_at(evidence: Evidence) -> str:
    expected = evidence.release.expected_paths()
    there = sum(path in evidence.inventory for path in expected)
    return f"{there:,} of {len(expected):,} files of the release, {len(evidence.inventory) - there:,} others"


@enforced("raw_tree", blocking=True, on_card=False, looked_at=_subjects_looked_at)
def subject_count(evidence: Evidence) -> Iterator[Finding]:
    """The tree holds exactly the {subjects} subjects of the release."""
    release, inventory = evidence.release, evidence.inventory
    there = {release.subject_of(path) for path, file in inventory.items() if file.fault is not Fault.EMPTY_FOLDER}
    renamed = set(map(release.subject_of, evidence.names.renamed))
    for subject in release.subjects:
        if subject not in there:
            mend = "rename its folders, see release_layout" if subject in renamed else RESTORE
            yield Problem.SUBJECT_MISSING.finding("is missing from the tree", mend, subject=subject)
    for subject in sorted(_unknown_subjects(release, inventory)):
        mend = f"move it out of the tree; {ANOTHER}"
        yield Problem.SUBJECT_UNKNOWN.finding("is no subject of the release", mend, subject=subject)


def _unknown_subjects(release: Release, inventory: Inventory) -> set[str]:
    """Return subjects of other releases. A file is no subject, nor is a misspelled subject of this release."""
    known = set(map(plain, release.subjects))
    found = {
        release.subject_of(path)
        for path, file in inventory.items()
        if path.count("/") > 1 or _may_be_folder(file.fault)
    }
    return {subject for subject in found - {""} if plain(subject) not in known}


def _may_be_folder(fault: Fault | None) -> bool:
    return fault in (Fault.LINKED_FOLDER, Fault.LEAVES_TREE, Fault.UNLISTED, Fault.TOO_DEEP)


@enforced("raw_tree", blocking=True, on_card=False, looked_at=_names_looked_at)
def session_naming(evidence: Evidence) -> Iterator[Finding]:
    """Sessions are named {sessions}, in folders and in file names."""
    release, names = evidence.release, evidence.names
    other = release.describe("has a session other than {sessions}")

    def finding(path: str, problem: str, mend: Mend) -> Finding:
        return Problem.SESSION_NAME.finding(problem, mend, path=path, subject=_subject_of(release, path))

    yield from _renames(release, [one for one in names.misnamed if one.session])
    for path in names.other_sessions:
        yield finding(path, f"{PurePosixPath(path).name} {other}", "find out which session it is")
    for double in names.doubles:
        if double.session:
            yield finding(double.path, f"{PurePosixPath(double.path).name} {other}, beside {double.right}", _COMPARE)


def _renames(release: Release, misnamed: Sequence[Misnamed]) -> Iterator[Finding]:
    """Yield the renames in the order to do them. Many names with the same wrong session are one finding."""
    together: Counter[tuple[str, str]] = Counter()
    first, alone = [], []
    for one in misnamed:
        corrected, sessions = _with_right_sessions(release, one.old)
        if _plain_parts(one.old) == _plain_parts(one.right):
            first.append(one)
        elif corrected == one.right and len(misnamed) > MOST_SHOWN:
            together.update(sessions)
        else:
            alone.append(one)
    for one in first:
        yield _rename(release, one, Problem.SESSION_NAME, f"should be {one.right}")
    for (wrong, right), count in sorted(together.items()):
        those = counted(count, "file or folder has", "files and folders have")
        problem = f"{those} the session {wrong}, which should be {right}"
        yield Problem.SESSION_NAME.finding(problem, _rename_all(release, wrong, right))
    for one in alone:
        pairs = zip(one.old.split("/"), one.right.split("/"), strict=True)
        part = next(found for found, right in pairs if plain(found) != plain(right))
        problem = f"{part} {release.describe('has a session other than {sessions}')}"
        yield _rename(release, one, Problem.SESSION_NAME, problem)


def _plain_parts(path: str) -> list[str]:
    return [plain(part) for part in path.split("/")]


def _with_right_sessions(release: Release, path: str) -> tuple[str, set[tuple[str, str]]]:
    """Return `path` with the leading zeros of its sessions corrected, and the pairs of wrong and right sessions."""
    meant = {session.removeprefix("ses-").lstrip("0"): session for session in release.sessions}
    pairs = {(f"ses-{label}", meant.get(label.lstrip("0"), "")) for label in _LABEL.findall(path)}
    wrong = {(found, right) for found, right in pairs if right and found != right}
    corrected = _LABEL.sub(lambda found: meant.get(found[1].lstrip("0"), found[0]), path)
    return corrected, wrong


def _rename(release: Release, one: Misnamed, kind: Problem, problem: str) -> Finding:
    return kind.finding(problem, Rename(one.old, one.right), path=one.origin, subject=_subject_of(release, one.right))


def _rename_all(release: Release, wrong: str, right: str) -> str:
    """Return a shell command that renames the session `wrong` to `right` in all names, and overwrites nothing.

    It renames folders before the files in them. If the right folder exists, it moves the files into it one by one.
    """
    tops = [shlex.quote(top) for top in release.tops]
    return (
        f"for f in {' '.join(f'{top}/sub-*/{wrong}' for top in tops)}; do t=${{f%/*}}/{right}; "
        '[ ! -e "$f" ] || [ -e "$t" ] || mv -n -- "$f" "$t"; done; '
        f"find {' '.join(f'{top}/sub-*' for top in tops)} ! -type d -path '*[/_]{wrong}[/_.]*' | "
        f"while IFS= read -r f; do t=$(printf '%s\\n' \"$f\" | sed 's,\\([/_]\\){wrong}\\([/_.]\\),\\1{right}\\2,g'); "
        '[ -e "$t" ] || [ -h "${t%/*}" ] || { mkdir -p -- "${t%/*}" && mv -n -- "$f" "$t"; }; done'
    )


@enforced("raw_tree", blocking=True, on_card=False, looked_at=_layout_looked_at)
def release_layout(evidence: Evidence) -> Iterator[Finding]:
    """Every subject has its {volumes} volumes and {workbooks} workbooks under their exact names."""
    release, inventory = evidence.release, evidence.inventory
    names = evidence.names
    missing = [path for path in release.expected_paths() if path not in inventory]
    yield from _unusable(release, inventory)
    yield from _in_the_way(release, inventory, missing)
    yield from _misnamed(release, names)
    for path in missing:
        if path not in names.renamed and not _obstacle(inventory, path):
            could_be = names.ambiguous.get(path)
            problem = f"is missing, and could be {' or '.join(could_be)}" if could_be else "is missing"
            mend = "find out which it is, and give it that name" if could_be else RESTORE
            yield Problem.FILE_MISSING.finding(problem, mend, path=path, subject=release.subject_of(path))
    yield from _foreign(release, inventory, names)


def _unusable(release: Release, inventory: Inventory) -> Iterator[Finding]:
    """Yield findings on paths of the release that are no usable file."""
    for path in release.expected_paths():
        if (file := inventory.get(path)) and (file.fault or not file.size):
            problem = str(file.fault or "is empty (0 bytes)")
            mend = _OF_FILES.get(file.fault, RESTORE) if file.fault else RESTORE
            yield Problem.FILE_UNUSABLE.finding(problem, mend, path=path, subject=release.subject_of(path))


def _in_the_way(release: Release, inventory: Inventory, missing: Iterable[str]) -> Iterator[Finding]:
    """Yield one finding for each path that should be a folder and is none, with the number of `missing` files below."""
    for path, count in Counter(filter(None, (_obstacle(inventory, path) for path in missing))).items():
        fault = inventory[path].fault
        below = counted(count, "file of the release is", "files of the release are")
        problem = f"{fault or 'is a file, where a folder should be'}; {below} below it"
        mend = _OF_FOLDERS.get(fault, "put the folder itself there, not a link")
        yield Problem.FILE_UNUSABLE.finding(problem, mend, path=path, subject=_subject_of(release, path))


def _obstacle(inventory: Inventory, path: str) -> str | None:
    """Return what stands in the place of a folder above `path`."""
    folders = map(str, PurePosixPath(path).parents)
    return next((f for f in folders if f in inventory and inventory[f].fault is not Fault.EMPTY_FOLDER), None)


def _misnamed(release: Release, names: Names) -> Iterator[Finding]:
    """Yield findings on files of the release that have another name."""
    by_session = {one.right for one in names.misnamed if one.session}
    others = [
        path for path in names.renamed if not by_session.isdisjoint([path, *map(str, PurePosixPath(path).parents)])
    ]
    if others:
        problem = f"is named {names.renamed[others[0]]}"
        if more := len(others) - 1:
            files = counted(more, "more file of the release has", "more files of the release have")
            problem += f"; {files} another session in the path, too"
        subjects = {release.subject_of(path) for path in others}
        subject = subjects.pop() if len(subjects) == 1 else ""
        mend = "rename the sessions, see session_naming"
        yield Problem.FILE_MISSING.finding(problem, mend, path=others[0], subject=subject)
    rest = [one for one in names.misnamed if not one.session]
    if len(rest) > MOST_SHOWN:
        problem = (
            f"{len(rest)} files and folders differ from their names in case or Unicode form, such as {rest[0].origin}"
        )
        mend = f"give them the names of the release, or {RESTORE.replace('it', 'them', 1)}"
        yield Problem.FILE_MISSING.finding(problem, mend, path=rest[0].right)
        return
    for one in rest:
        found = Problem.FILE_MISSING.finding(f"is named {one.origin}", Rename(one.old, one.right), path=one.right)
        yield replace(found, subject=_subject_of(release, one.right))


def _foreign(release: Release, inventory: Inventory, names: Names) -> Iterator[Finding]:
    """Yield notes on files that are not part of the release. Many in one folder are one note."""
    stray = {file.path: file.what for file in release.stray_files}
    expected = set(release.expected_paths())
    unknown = _unknown_subjects(release, inventory)
    of_systems: list[str] = []
    folders: dict[str, list[Foreign]] = {}
    for one in names.foreign:
        if one.path in stray:
            yield _note(release, one.path, f"is {stray[one.path]}")
        elif _SYSTEMS.fullmatch(PurePosixPath(one.path).name):
            of_systems.append(one.path)
        elif release.subject_of(one.path) not in unknown:
            folders.setdefault(str(PurePosixPath(one.path).parent), []).append(one)
    if of_systems:
        others = len(of_systems) - 1
        more = (
            f", as {'is' if others == 1 else 'are'} {counted(others, 'more file or folder', 'more files and folders')}"
            if others
            else ""
        )
        yield _note(release, of_systems[0], f"is an operating system's{more}")
    for folder, those in folders.items():
        if len(those) > _MOST_IN_A_FOLDER:
            problem = f"holds {len(those)} files and folders that are not part of the release, such as {those[0].path}"
            yield _note(release, folder, problem)
        else:
            yield from (_note(release, one.path, _what(one, expected)) for one in those)
    within = {str(folder) for path in expected & inventory.keys() for folder in PurePosixPath(path).parents}
    for path, file in inventory.items():
        if path in within and file.fault:
            yield _note(release, path, str(file.fault))


def _what(one: Foreign, expected: Container[str]) -> str:
    """Describe a file or folder that is not part of the release: how much it holds, and what cannot be read of it."""
    words = ["is not part of the release"]
    if one.is_folder and (count := sum(not file.fault for file in one.files)):
        words.append(counted(count, "file"))
    if f"{one.path}.gz" in expected:
        words.append(f"{PurePosixPath(one.path).name}.gz is")
    faults = dict.fromkeys(file.fault for file in one.files if file.fault)
    words += [str(fault) if one.files[0].path == one.path else f"something in it {fault}" for fault in faults]
    return "; ".join(words)


def _note(release: Release, path: str, problem: str) -> Finding:
    return Problem.FOREIGN_FILE.finding(problem, NOTHING_TO_DO, path=path, subject=_subject_of(release, path))


def _subject_of(release: Release, path: str) -> str:
    """Return the subject of the release in `path`; empty if there is none."""
    subject = release.subject_of(path)
    return subject if subject in release.subjects else ""


@enforced("raw_tree", on_card=False, looked_at=_names_looked_at)
def no_look_alikes(evidence: Evidence) -> Iterator[Finding]:
    """No second file or folder could be taken for one of the release."""
    release = evidence.release
    for double in evidence.names.doubles:
        if not double.session:
            size = f", with {counted(len(double.files), 'file')}" if double.is_folder else ""
            found = fingerprint([(file.path, file.size) for file in double.files])
            yield Problem.LOOK_ALIKE.finding(
                f"could be taken for {double.right}{size}",
                _COMPARE,
                path=double.path,
                subject=_subject_of(release, double.right),
                found=found,
            )
