"""What must be true of the release, one property a function: its first line is the sentence that it enforces.

The asset checks and the guard of `hub_dataset` call the same functions. Each returns its offenders. To add one, write
it here under `@enforced`; nothing else has to be changed.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from isles_assets.lib.findings import Finding, Materialize, Mend, Rename
from isles_assets.products.building import read_sidecars
from isles_assets.products.shard.product import Shard
from isles_assets.products.sidecar import Sidecar
from isles_assets.reading.nifti import SYNTHETIC_MARK
from isles_assets.reading.tree import Inventory, take_inventory
from isles_assets.reading.workbooks import DictionaryEntry, WorkbookError, read_dictionary
from isles_assets.release.clinical import Dictionary
from isles_assets.release.release import Release
from isles_assets.tables.clinical import clinical_schema, read_clinical_table
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import read_inventory
from isles_assets.tables.manifest import ManifestRow, read_manifest
from isles_assets.tables.storage import SUBJECT_COLUMN

_OS_JUNK = re.compile(r"(^|/)(\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|__MACOSX/.*)$", re.IGNORECASE)
_UNKNOWN_SESSION = "ses-NN"
_RESTORE = "restore it from the release archive"
_ANOTHER = "this is another release, or another folder: take the archive that the README names"


@dataclass(frozen=True)
class Evidence:
    """All that the properties look at, read when first asked for: the tables as they were materialized.

    `fresh_tree`: look at the tree itself instead of the inventory that was taken of it.
    """

    root: Path
    folder: DataFolder
    fresh_tree: bool = False

    @property
    def release(self) -> Release:
        return self.folder.release

    @cached_property
    def inventory(self) -> Inventory:
        return take_inventory(self.release, self.root) if self.fresh_tree else read_inventory(self.folder)

    @cached_property
    def clinical(self) -> pa.Table:
        return read_clinical_table(self.folder)

    @cached_property
    def manifest(self) -> Mapping[str, ManifestRow]:
        return read_manifest(self.folder)

    @cached_property
    def shards(self) -> Sequence[Sidecar]:
        return read_sidecars(Shard(self.release), self.folder)


Find = Callable[[Evidence], Iterable[Finding]]


@dataclass(frozen=True)
class Property:
    """A property, the asset that it is of, and whether an offence stops what is downstream.

    `sentence` may name numbers and names of the release in braces.
    """

    asset: str
    find: Find
    name: str
    sentence: str
    blocking: bool
    applies: Callable[[Release], bool]

    def sentence_of(self, release: Release) -> str:
        """The sentence that it enforces on `release`."""
        return release.describe(self.sentence)


_PROPERTIES: list[Property] = []


def properties_of(release: Release) -> list[Property]:
    """The properties that `release` must have, in the order in which they are written here."""
    return [prop for prop in _PROPERTIES if prop.applies(release)]


def enforced(
    asset: str, *, blocking: bool = True, when: Callable[[Release], bool] = lambda release: True
) -> Callable[[Find], Find]:
    """Make a function the property of `asset` that its first line states, of releases `when` it makes sense."""

    def register(find: Find) -> Find:
        sentence = (find.__doc__ or "").strip().splitlines()[0]
        _PROPERTIES.append(Property(asset, find, find.__name__, sentence, blocking, when))
        return find

    return register


@enforced("raw_tree")
def subject_count(evidence: Evidence) -> list[Finding]:
    """The tree holds exactly the {subjects} subjects of the release."""
    release = evidence.release
    found = {release.subject_of(path) for path in evidence.inventory} - {""}
    missing = [
        Finding("is missing from the tree", _RESTORE, subject=subject)
        for subject in release.subjects
        if subject not in found
    ]
    unexpected = sorted(found.difference(release.subjects))
    return missing + [
        Finding("is no subject of the release", f"move it out of the tree; {_ANOTHER}", subject=s) for s in unexpected
    ]


@enforced("raw_tree")
def session_naming(evidence: Evidence) -> list[Finding]:
    """Sessions are named {sessions}, in folders and in file names."""
    release = evidence.release
    renames: dict[str, Finding] = {}
    for path in evidence.inventory:
        folder = ""
        for part in path.split("/"):
            found, right = f"{folder}{part}", f"{folder}{_with_right_session(release, part)}"
            if found != right:
                problem = f"{part} has a session other than {' and '.join(release.sessions)}"
                mend: Mend = Rename(found, right) if _UNKNOWN_SESSION not in right else "find out which session it is"
                renames.setdefault(found, Finding(problem, mend, path, release.subject_of(path)))
            folder = f"{right}/"
    return list(renames.values())


def _with_right_session(release: Release, name: str) -> str:
    """`ses-0001` and `ses-1` mean `ses-01`; what is no such number is left for the reader to decide."""
    meant = {session.removeprefix("ses-").lstrip("0"): session for session in release.sessions}
    return re.sub(r"(?<![^_])ses-([^_./]+)", lambda found: meant.get(found[1].lstrip("0"), _UNKNOWN_SESSION), name)


@enforced("raw_tree")
def release_layout(evidence: Evidence) -> list[Finding]:
    """Every subject has its {volumes} volumes and {workbooks} workbooks under their exact names, and nothing else is there."""  # noqa: E501
    release, inventory = evidence.release, evidence.inventory
    expected = dict.fromkeys(release.expected_paths())
    misnamed = {_as_meant(release, path): path for path in inventory.keys() - expected.keys()}
    stray = {file.path: file.what for file in release.stray_files}

    def finding(path: str, problem: str, mend: Mend, *, fatal: bool = True) -> Finding:
        return Finding(problem, mend, path, release.subject_of(path), fatal)

    findings = [
        finding(path, str(file.fault), "put the folder or file itself there, not a link")
        for path, file in inventory.items()
        if file.fault and path not in expected
    ]
    for path in expected:
        file = inventory.get(path)
        if file is None:
            other = misnamed.get(path.lower())
            mend = _rename(other, path) if other else _RESTORE
            findings.append(finding(path, f"is named {other}" if other else "is missing", mend))
        elif file.fault:
            findings.append(finding(path, str(file.fault), f"replace it by the file itself, or {_RESTORE}"))
        elif file.size == 0:
            findings.append(finding(path, "is empty (0 bytes)", _RESTORE))
    known = set(expected) | {misnamed[path.lower()] for path in expected if path.lower() in misnamed}
    for path, file in inventory.items():
        subject = release.subject_of(path)
        if path in known or file.fault or (subject and subject not in release.subjects):
            continue
        if path in stray:
            findings.append(finding(path, f"is {stray[path]}", "nothing to do", fatal=False))
        elif _OS_JUNK.search(path):
            findings.append(finding(path, "is an operating system's", "may be deleted", fatal=False))
        else:
            findings.append(finding(path, "is not part of the release", "move it out of the tree"))
    return findings


def _rename(found: str, right: str) -> Mend:
    """To rename it, unless a session is wrong, which `session_naming` mends folder by folder."""
    return Rename(found, right) if found.lower() == right.lower() else "rename the session, see session_naming"


def _as_meant(release: Release, path: str) -> str:
    return "/".join(_with_right_session(release, part) for part in path.split("/")).lower()


@enforced("clinical_table")
def one_row_per_subject(evidence: Evidence) -> list[Finding]:
    """The clinical table has exactly one row for each of the {subjects} subjects."""
    release = evidence.release
    rows = Counter(evidence.clinical.column(SUBJECT_COLUMN).to_pylist())
    wrong = sorted(subject for subject in {*release.subjects, *rows} if rows[subject] != (subject in release.subjects))
    return [
        Finding(
            f"gives {rows[subject]} rows",
            f"one subject has one row; {_RESTORE}",
            path=release.workbooks[0].path(subject),
            subject=subject,
        )
        for subject in wrong
    ]


@enforced("clinical_table")
def all_variables(evidence: Evidence) -> list[Finding]:
    """The clinical table has all {variables} variables, of their types, each with a value in at least one subject."""
    clinical = evidence.clinical
    findings = []
    for field in clinical_schema(evidence.release):
        index = clinical.schema.get_field_index(field.name)
        if index < 0:
            findings.append(Finding(f"column `{field.name}` is missing", "materialize clinical_table again"))
        elif clinical.schema.field(index).type != field.type:
            problem = f"column `{field.name}` is {clinical.schema.field(index).type}, not {field.type}"
            findings.append(Finding(problem, "materialize clinical_table again"))
        elif clinical.num_rows and clinical.column(index).null_count == clinical.num_rows:
            problem = f"column `{field.name}` is empty in every subject, as in the broken tables of release v3"
            findings.append(Finding(problem, _ANOTHER))
    return findings


@enforced("clinical_table", when=lambda release: release.dictionary is not None)
def dictionary_agreement(evidence: Evidence) -> list[Finding]:
    """The release's dictionary workbook lists the variables under the names and units that are expected."""
    dictionary = evidence.release.dictionary
    assert dictionary
    try:
        entries = read_dictionary(dictionary, evidence.root)
    except WorkbookError as error:
        return [Finding(str(error), _RESTORE, path=dictionary.path)]
    return list(_dictionary_differences(evidence.release, dictionary, entries))


def _dictionary_differences(
    release: Release, dictionary: Dictionary, entries: Sequence[DictionaryEntry]
) -> Iterator[Finding]:
    listed = {entry.parameter: entry for entry in entries}
    expected = {variable.dictionary: variable for variable in release.variables if variable.dictionary}
    for name, variable in expected.items():
        if name not in listed:
            yield Finding(f"does not list `{name}` (`{variable.header}`)", _ANOTHER, path=dictionary.path)
        elif listed[name].unit.lower() != (variable.unit or listed[name].unit).lower():
            problem = (
                f"gives `{name}` in {listed[name].unit or 'no unit'}; `{variable.column}` is made from {variable.unit}"
            )
            yield Finding(problem, _ANOTHER, path=dictionary.path)
    for name in listed:
        if name not in expected and name != dictionary.identifier:
            yield Finding(f"lists `{name}`, which no variable has", _ANOTHER, path=dictionary.path, fatal=False)


@enforced("clinical_table", blocking=False)
def value_ranges(evidence: Evidence) -> list[Finding]:
    """Clinical values lie in their range or among their levels; an odd one is published as it is."""
    return [
        Finding(
            f"`{variable.header}` is {row[variable.column]}, outside {variable.allowed}",
            "published as it is; tell the release's authors",
            path=variable.workbook.path(row[SUBJECT_COLUMN]),
            subject=row[SUBJECT_COLUMN],
        )
        for row in evidence.clinical.to_pylist()
        for variable in evidence.release.variables
        if row.get(variable.column) is not None and not variable.allows(row[variable.column])
    ]


@enforced("subject_manifest")
def all_modalities(evidence: Evidence) -> list[Finding]:
    """Each of the {subjects} subjects has all {volumes} volumes."""
    manifest = evidence.manifest
    findings = []
    for subject in evidence.release.subjects:
        if subject not in manifest:
            findings.append(Finding("is not in the manifest", _RESTORE, subject=subject))
            continue
        for volume in evidence.release.volumes:
            if manifest[subject].volumes[volume.column] is None:
                findings.append(
                    Finding(f"has no {volume.column}", _RESTORE, path=volume.path(subject), subject=subject)
                )
    return findings


@enforced("subject_manifest")
def ncct_grid(evidence: Evidence) -> list[Finding]:
    """Registered volumes share shape and affine with their subject's {common_grid}."""
    release = evidence.release
    findings = []
    for subject, row in evidence.manifest.items():
        reference = row.volumes[release.reference.column]
        for volume in release.registered:
            entry = row.volumes[volume.column]
            if reference is None or entry is None:
                continue
            if problem := entry.grid_difference(reference, release.common_grid):
                mend = f"{_RESTORE}, or register it to the {release.common_grid}"
                findings.append(Finding(problem, mend, entry.path, subject))
    return findings


@enforced("subject_manifest", blocking=False)
def readable_headers(evidence: Evidence) -> list[Finding]:
    """Every volume's header can be read; a subject with one that cannot fails in its own partition."""
    return [
        Finding(entry.fault, _RESTORE, entry.path, subject)
        for subject, row in evidence.manifest.items()
        for entry in row.volumes.values()
        if entry is not None and entry.fault
    ]


@enforced("subject_manifest", blocking=False)
def no_identifying_text(evidence: Evidence) -> list[Finding]:
    """Free text in headers and extensions is nothing but that of known tools."""
    known = re.compile("|".join([*evidence.release.known_text, f"{re.escape(SYNTHETIC_MARK)}.*"]))
    return [
        Finding(f"{text['field']} says {text['text']!r}", "make sure that it identifies nobody", entry.path, subject)
        for subject, row in evidence.manifest.items()
        for entry in row.volumes.values()
        if entry is not None
        for text in entry.text or ()
        if not known.fullmatch(text["text"])
    ]


@enforced("subject_shard", blocking=False)
def volumes_decoded(evidence: Evidence) -> list[Finding]:
    """Every volume that is packed was decoded: gzip CRC and length, header, grid and voxels."""
    return [
        Finding(
            "was packed without decoding its volumes",
            Materialize(("subject_shard",), sidecar.subject),
            subject=sidecar.subject,
        )
        for sidecar in evidence.shards
        if not sidecar.decoded
    ]
