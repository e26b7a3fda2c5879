"""What must be true of the release, one property a function: its first line is the sentence that it enforces.

The asset checks and the guard of `hub_dataset` call the same functions. Each returns its offenders.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from isles_assets.graph.commands import materialize_partition
from isles_assets.lib.findings import Finding
from isles_assets.products.schema import SUBJECT_COLUMN, clinical_schema
from isles_assets.products.shard import ShardRecord, read_records
from isles_assets.reading.tree import Inventory, expected_paths, take_inventory
from isles_assets.reading.workbooks import DictionaryEntry, WorkbookError, read_dictionary
from isles_assets.release.clinical import BASELINE, DICTIONARY, VARIABLES
from isles_assets.release.peculiarities import OS_JUNK, STRAY_FILES
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.release.volumes import REGISTERED, SESSIONS, VOLUMES
from isles_assets.sample import SYNTHETIC_MARK
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import SubjectManifest, read_manifest
from isles_assets.tables.storage import read_clinical_table, read_inventory

KNOWN_TEXT = re.compile(rf"Warped image using NiftyReg \([\w -]+\)|FSL[\d.: -]*|{re.escape(SYNTHETIC_MARK)}.*")
"""Free text of tools; anything else in a header could tell who the patient is."""

_UNKNOWN_SESSION = "ses-NN"
_SESSION_MEANT = {session.removeprefix("ses-").lstrip("0"): session for session in SESSIONS}
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

    @cached_property
    def inventory(self) -> Inventory:
        return take_inventory(self.root) if self.fresh_tree else read_inventory(self.folder)

    @cached_property
    def clinical(self) -> pa.Table:
        return read_clinical_table(self.folder)

    @cached_property
    def manifest(self) -> Mapping[str, SubjectManifest]:
        return read_manifest(self.folder)

    @cached_property
    def records(self) -> Sequence[ShardRecord]:
        return list(read_records(self.folder))


def subject_count(inventory: Inventory) -> list[Finding]:
    """The tree holds exactly the 149 subjects of the release."""
    found = {entry.subject for entry in inventory.values()} - {""}
    missing = [
        Finding(subject, "", "is missing from the tree", _RESTORE) for subject in SUBJECT_IDS if subject not in found
    ]
    unexpected = sorted(found - set(SUBJECT_IDS))
    return missing + [
        Finding(s, "", "is no subject of the release", f"move it out of the tree; {_ANOTHER}") for s in unexpected
    ]


def session_naming(inventory: Inventory) -> list[Finding]:
    """Sessions are named ses-01 and ses-02, in folders and in file names."""
    renames: dict[str, Finding] = {}
    for entry in inventory.values():
        folder = ""
        for part in entry.path.split("/"):
            found, right = f"{folder}{part}", f"{folder}{_with_right_session(part)}"
            if found != right:
                problem = f"{part} has a session other than {' and '.join(SESSIONS)}"
                mend = f"mv {found} {right}" if _UNKNOWN_SESSION not in right else "find out which session it is"
                renames.setdefault(found, Finding(entry.subject, entry.path, problem, mend))
            folder = f"{right}/"
    return list(renames.values())


def _with_right_session(name: str) -> str:
    """`ses-0001` and `ses-1` mean `ses-01`; what is no such number is left for the reader to decide."""

    def meant(session: re.Match[str]) -> str:
        return _SESSION_MEANT.get(session[1].lstrip("0"), _UNKNOWN_SESSION)

    return re.sub(r"(?<![^_])ses-([^_./]+)", meant, name)


def release_layout(inventory: Inventory) -> list[Finding]:
    """Every subject has its 18 volumes and 2 workbooks under their exact names, and nothing else is there."""
    expected = dict.fromkeys(expected_paths())
    misnamed = {_as_meant(path): path for path in inventory.keys() - expected.keys()}
    findings = [
        Finding(entry.subject, path, str(entry.fault), "put the folder or file itself there, not a link")
        for path, entry in inventory.items()
        if entry.fault and path not in expected
    ]
    for path in expected:
        entry = inventory.get(path)
        subject = _subject_in(path)
        if entry is None:
            other = misnamed.get(path.lower())
            mend = _rename(other, path) if other else _RESTORE
            findings.append(Finding(subject, path, f"is named {other}" if other else "is missing", mend))
        elif entry.fault:
            findings.append(Finding(subject, path, str(entry.fault), f"replace it by the file itself, or {_RESTORE}"))
        elif entry.size == 0:
            findings.append(Finding(subject, path, "is empty (0 bytes)", _RESTORE))
    known = set(expected) | {misnamed[path.lower()] for path in expected if path.lower() in misnamed}
    for path, entry in inventory.items():
        if path in known or entry.fault or (entry.subject and entry.subject not in SUBJECT_IDS):
            continue
        if path in STRAY_FILES:
            findings.append(Finding(entry.subject, path, f"is {STRAY_FILES[path]}", "nothing to do", fatal=False))
        elif OS_JUNK.search(path):
            findings.append(Finding(entry.subject, path, "is an operating system's", "may be deleted", fatal=False))
        else:
            findings.append(Finding(entry.subject, path, "is not part of the release", "move it out of the tree"))
    return findings


def _rename(found: str, right: str) -> str:
    """The command that renames, unless a session is wrong, which `session_naming` mends folder by folder."""
    return f"mv {found} {right}" if found.lower() == right.lower() else "rename the session, see session_naming"


def _as_meant(path: str) -> str:
    return "/".join(_with_right_session(part) for part in path.split("/")).lower()


def _subject_in(path: str) -> str:
    match = re.search(r"sub-stroke\d+", path)
    return match.group() if match else ""


def one_row_per_subject(clinical: pa.Table) -> list[Finding]:
    """The clinical table has exactly one row for each of the 149 subjects."""
    rows = Counter(clinical.column(SUBJECT_COLUMN).to_pylist())
    wrong = sorted(subject for subject in {*SUBJECT_IDS, *rows} if rows[subject] != (subject in SUBJECT_IDS))
    return [
        Finding(subject, BASELINE.path(subject), f"gives {rows[subject]} rows", f"one subject has one row; {_RESTORE}")
        for subject in wrong
    ]


def all_variables(clinical: pa.Table) -> list[Finding]:
    """The clinical table has all 33 variables, of their types, each with a value in at least one subject."""
    findings = []
    for field in clinical_schema():
        index = clinical.schema.get_field_index(field.name)
        if index < 0:
            findings.append(Finding("", "", f"column `{field.name}` is missing", "materialize clinical_table again"))
        elif clinical.schema.field(index).type != field.type:
            problem = f"column `{field.name}` is {clinical.schema.field(index).type}, not {field.type}"
            findings.append(Finding("", "", problem, "materialize clinical_table again"))
        elif clinical.num_rows and clinical.column(index).null_count == clinical.num_rows:
            problem = f"column `{field.name}` is empty in every subject, as in the broken tables of release v3"
            findings.append(Finding("", "", problem, _ANOTHER))
    return findings


def dictionary_agreement(root: Path) -> list[Finding]:
    """The release's dictionary workbook lists the variables under the names and units that are expected."""
    try:
        entries = read_dictionary(root)
    except WorkbookError as error:
        return [Finding("", DICTIONARY.path, str(error), _RESTORE)]
    return list(_dictionary_differences(entries))


def _dictionary_differences(entries: Sequence[DictionaryEntry]) -> Iterator[Finding]:
    listed = {entry.parameter: entry for entry in entries}
    expected = {variable.dictionary: variable for variable in VARIABLES if variable.dictionary}
    for name, variable in expected.items():
        if name not in listed:
            yield Finding("", DICTIONARY.path, f"does not list `{name}` (`{variable.header}`)", _ANOTHER)
        elif listed[name].unit.lower() != (variable.unit or listed[name].unit).lower():
            problem = (
                f"gives `{name}` in {listed[name].unit or 'no unit'}; `{variable.column}` is made from {variable.unit}"
            )
            yield Finding("", DICTIONARY.path, problem, _ANOTHER)
    for name in listed:
        if name not in expected and name != DICTIONARY.identifier:
            yield Finding("", DICTIONARY.path, f"lists `{name}`, which no variable has", _ANOTHER, fatal=False)


def value_ranges(clinical: pa.Table) -> list[Finding]:
    """Clinical values lie in their range or among their levels; an odd one is published as it is."""
    return [
        Finding(
            row[SUBJECT_COLUMN],
            variable.workbook.path(row[SUBJECT_COLUMN]),
            f"`{variable.header}` is {row[variable.column]}, outside {variable.allowed}",
            "published as it is; tell the release's authors",
        )
        for row in clinical.to_pylist()
        for variable in VARIABLES
        if row.get(variable.column) is not None and not variable.allows(row[variable.column])
    ]


def all_modalities(manifest: Mapping[str, SubjectManifest]) -> list[Finding]:
    """Each of the 149 subjects has all 18 volumes."""
    findings = []
    for subject in SUBJECT_IDS:
        if subject not in manifest:
            findings.append(Finding(subject, "", "is not in the manifest", _RESTORE))
            continue
        for volume in VOLUMES:
            if manifest[subject].volumes[volume.column] is None:
                findings.append(Finding(subject, volume.path(subject), f"has no {volume.column}", _RESTORE))
    return findings


def ncct_grid(manifest: Mapping[str, SubjectManifest]) -> list[Finding]:
    """Registered volumes share shape and affine with their subject's NCCT."""
    findings = []
    for subject, row in manifest.items():
        ncct = row.volumes["ncct"]
        for volume in REGISTERED:
            facts = row.volumes[volume.column]
            if ncct is None or facts is None:
                continue
            if problem := facts.grid_difference(ncct):
                findings.append(Finding(subject, facts.path, problem, f"{_RESTORE}, or register it to the NCCT"))
    return findings


def readable_headers(manifest: Mapping[str, SubjectManifest]) -> list[Finding]:
    """Every volume's header can be read; a subject with one that cannot fails in its own partition."""
    return [
        Finding(subject, facts.path, facts.fault, _RESTORE)
        for subject, row in manifest.items()
        for facts in row.volumes.values()
        if facts is not None and facts.fault
    ]


def no_identifying_text(manifest: Mapping[str, SubjectManifest]) -> list[Finding]:
    """Free text in headers and extensions is nothing but that of known tools."""
    return [
        Finding(subject, facts.path, f"{entry['field']} says {entry['text']!r}", "make sure that it identifies nobody")
        for subject, row in manifest.items()
        for facts in row.volumes.values()
        if facts is not None
        for entry in facts.text or ()
        if not KNOWN_TEXT.fullmatch(entry["text"])
    ]


def volumes_decoded(records: Sequence[ShardRecord]) -> list[Finding]:
    """Every volume that is packed was decoded: gzip CRC and length, header, grid and voxels."""
    return [
        Finding(record.subject, "", "was packed without decoding its volumes", _again(record.subject))
        for record in records
        if not record.decoded
    ]


def _again(subject: str) -> str:
    return materialize_partition("subject_shard", subject)


@dataclass(frozen=True)
class Property:
    """A property, the asset that it is of, and whether an offence stops what is downstream."""

    asset: str
    find: Callable[[Evidence], list[Finding]]
    name: str
    sentence: str
    blocking: bool


def _property(asset: str, function: Callable[..., list[Finding]], argument: str, blocking: bool = True) -> Property:
    sentence = (function.__doc__ or "").strip().splitlines()[0]
    return Property(
        asset, lambda evidence: function(getattr(evidence, argument)), function.__name__, sentence, blocking
    )


PROPERTIES: tuple[Property, ...] = (
    _property("raw_tree", subject_count, "inventory"),
    _property("raw_tree", session_naming, "inventory"),
    _property("raw_tree", release_layout, "inventory"),
    _property("clinical_table", one_row_per_subject, "clinical"),
    _property("clinical_table", all_variables, "clinical"),
    _property("clinical_table", dictionary_agreement, "root"),
    _property("clinical_table", value_ranges, "clinical", blocking=False),
    _property("subject_manifest", all_modalities, "manifest"),
    _property("subject_manifest", ncct_grid, "manifest"),
    _property("subject_manifest", readable_headers, "manifest", blocking=False),
    _property("subject_manifest", no_identifying_text, "manifest", blocking=False),
    _property("subject_shard", volumes_decoded, "records", blocking=False),
)


def broken(evidence: Evidence) -> list[Finding]:
    """The fatal findings of every blocking property."""
    return [finding for p in PROPERTIES if p.blocking for finding in p.find(evidence) if finding.fatal]
