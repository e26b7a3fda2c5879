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
from isles_assets.reading.workbooks import WorkbookError, read_dictionary
from isles_assets.release.release import Release
from isles_assets.tables.clinical import clinical_schema, clinical_values, read_clinical_table
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import read_inventory
from isles_assets.tables.manifest import ManifestRow, VolumeEntry, read_manifest
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
    """A property, the asset that it is of, and whether an offence stops what is downstream."""

    asset: str
    look: Find
    blocking: bool
    applies: Callable[[Release], bool]

    @property
    def name(self) -> str:
        return self.look.__name__

    def find(self, evidence: Evidence) -> list[Finding]:
        """The offenders. Raises `Refusal` where the evidence cannot be read."""
        return list(self.look(evidence))

    def sentence_of(self, release: Release) -> str:
        """The sentence that it enforces on `release`: numbers and names of the release stand for those in braces."""
        return release.describe((self.look.__doc__ or "").strip().splitlines()[0])


_PROPERTIES: list[Property] = []


def properties_of(release: Release) -> list[Property]:
    """The properties that `release` must have, in the order in which they are written here."""
    return [prop for prop in _PROPERTIES if prop.applies(release)]


def enforced(
    asset: str, *, blocking: bool = True, when: Callable[[Release], bool] = lambda release: True
) -> Callable[[Find], Find]:
    """Make a function the property of `asset` that its first line states, of releases `when` it makes sense."""

    def register(look: Find) -> Find:
        _PROPERTIES.append(Property(asset, look, blocking, when))
        return look

    return register


@enforced("raw_tree")
def subject_count(evidence: Evidence) -> Iterator[Finding]:
    """The tree holds exactly the {subjects} subjects of the release."""
    release = evidence.release
    found = {release.subject_of(path) for path in evidence.inventory} - {""}
    for subject in release.subjects:
        if subject not in found:
            yield Finding("is missing from the tree", _RESTORE, subject=subject)
    for subject in sorted(found.difference(release.subjects)):
        yield Finding("is no subject of the release", f"move it out of the tree; {_ANOTHER}", subject=subject)


@enforced("raw_tree")
def session_naming(evidence: Evidence) -> Iterable[Finding]:
    """Sessions are named {sessions}, in folders and in file names."""
    release = evidence.release
    renames: dict[str, Finding] = {}
    for path in evidence.inventory:
        folder = ""
        for part in path.split("/"):
            found, right = f"{folder}{part}", f"{folder}{_with_right_session(release, part)}"
            if found != right:
                problem = release.describe(f"{part} has a session other than {{sessions}}")
                mend: Mend = Rename(found, right) if _UNKNOWN_SESSION not in right else "find out which session it is"
                renames.setdefault(found, Finding(problem, mend, path, release.subject_of(path)))
            folder = f"{right}/"
    return renames.values()


def _with_right_session(release: Release, path: str) -> str:
    """`ses-0001` and `ses-1` mean `ses-01`; what is no such number is left for the reader to decide."""
    meant = {session.removeprefix("ses-").lstrip("0"): session for session in release.sessions}
    return re.sub(r"(?<![^_/])ses-([^_./]+)", lambda found: meant.get(found[1].lstrip("0"), _UNKNOWN_SESSION), path)


@enforced("raw_tree")
def release_layout(evidence: Evidence) -> Iterator[Finding]:
    """Every subject has its {volumes} volumes and {workbooks} workbooks under their exact names, and nothing else is there."""  # noqa: E501
    release, inventory = evidence.release, evidence.inventory
    expected = dict.fromkeys(release.expected_paths())
    meant = {_with_right_session(release, path).lower(): path for path in inventory.keys() - expected.keys()}
    misnamed = {path: meant[path.lower()] for path in expected if path.lower() in meant}
    stray = {file.path: file.what for file in release.stray_files}

    def finding(path: str, problem: str, mend: Mend, *, fatal: bool = True) -> Finding:
        return Finding(problem, mend, path, release.subject_of(path), fatal)

    for path, file in inventory.items():
        if file.fault and path not in expected:
            yield finding(path, str(file.fault), "put the folder or file itself there, not a link")
    for path in expected:
        expected_file = inventory.get(path)
        if expected_file is None and (other := misnamed.get(path)):
            # A wrong session is mended by `session_naming`, folder by folder.
            same = other.lower() == path.lower()
            mend = Rename(other, path) if same else "rename the session, see session_naming"
            yield finding(path, f"is named {other}", mend)
        elif expected_file is None:
            yield finding(path, "is missing", _RESTORE)
        elif expected_file.fault:
            yield finding(path, str(expected_file.fault), f"replace it by the file itself, or {_RESTORE}")
        elif expected_file.size == 0:
            yield finding(path, "is empty (0 bytes)", _RESTORE)
    for path in sorted(inventory.keys() - expected.keys() - set(misnamed.values())):
        if inventory[path].fault or release.subject_of(path) not in ("", *release.subjects):
            continue
        if path in stray:
            yield finding(path, f"is {stray[path]}", "nothing to do", fatal=False)
        elif _OS_JUNK.search(path):
            yield finding(path, "is an operating system's", "may be deleted", fatal=False)
        else:
            yield finding(path, "is not part of the release", "move it out of the tree")


@enforced("clinical_table")
def one_row_per_subject(evidence: Evidence) -> Iterator[Finding]:
    """The clinical table has exactly one row for each of the {subjects} subjects."""
    subjects, (baseline, *_) = evidence.release.subjects, evidence.release.workbooks
    rows = Counter(evidence.clinical.column(SUBJECT_COLUMN).to_pylist())
    for subject in sorted({*subjects, *rows}):
        if rows[subject] != (subject in subjects):
            mend = f"one subject has one row; {_RESTORE}"
            yield Finding(f"gives {rows[subject]} rows", mend, baseline.path(subject), subject)


@enforced("clinical_table")
def all_variables(evidence: Evidence) -> Iterator[Finding]:
    """The clinical table has all {variables} variables, of their types, each with a value in at least one subject."""
    clinical, again = evidence.clinical, "materialize clinical_table again"
    for field in clinical_schema(evidence.release):
        index = clinical.schema.get_field_index(field.name)
        if index < 0:
            yield Finding(f"column `{field.name}` is missing", again)
        elif clinical.schema.field(index).type != field.type:
            yield Finding(f"column `{field.name}` is {clinical.schema.field(index).type}, not {field.type}", again)
        elif clinical.num_rows and clinical.column(index).null_count == clinical.num_rows:
            problem = f"column `{field.name}` is empty in every subject, as in the broken tables of release v3"
            yield Finding(problem, _ANOTHER)


@enforced("clinical_table", when=lambda release: release.dictionary is not None)
def dictionary_agreement(evidence: Evidence) -> Iterator[Finding]:
    """The release's dictionary workbook lists the variables under the names and units that are expected."""
    dictionary = evidence.release.dictionary
    assert dictionary
    try:
        listed = {entry.parameter: entry.unit for entry in read_dictionary(dictionary, evidence.root)}
    except WorkbookError as error:
        yield Finding(str(error), _RESTORE, dictionary.path)
        return
    expected = {variable.dictionary: variable for variable in evidence.release.variables if variable.dictionary}
    for name, variable in expected.items():
        if name not in listed:
            yield Finding(f"does not list `{name}` (`{variable.header}`)", _ANOTHER, dictionary.path)
        elif variable.unit and listed[name].lower() != variable.unit.lower():
            gives = f"gives `{name}` in {listed[name] or 'no unit'}"
            yield Finding(f"{gives}; `{variable.column}` is made from {variable.unit}", _ANOTHER, dictionary.path)
    for name in listed:
        if name not in (*expected, dictionary.identifier):
            yield Finding(f"lists `{name}`, which no variable has", _ANOTHER, dictionary.path, fatal=False)


@enforced("clinical_table", blocking=False)
def value_ranges(evidence: Evidence) -> Iterator[Finding]:
    """Clinical values lie in their range or among their levels; an odd one is published as it is."""
    mend = "published as it is; tell the release's authors"
    for subject, values in clinical_values(evidence.clinical).items():
        for variable in evidence.release.variables:
            value = values.get(variable.column)
            if value is not None and not variable.allows(value):
                problem = f"`{variable.header}` is {value}, outside {variable.allowed}"
                yield Finding(problem, mend, variable.workbook.path(subject), subject)


@enforced("subject_manifest")
def all_modalities(evidence: Evidence) -> Iterator[Finding]:
    """Each of the {subjects} subjects has all {volumes} volumes."""
    for subject in evidence.release.subjects:
        row = evidence.manifest.get(subject)
        if row is None:
            yield Finding("is not in the manifest", _RESTORE, subject=subject)
            continue
        for volume in evidence.release.volumes:
            if row.volumes[volume.column] is None:
                yield Finding(f"has no {volume.column}", _RESTORE, volume.path(subject), subject)


@enforced("subject_manifest")
def ncct_grid(evidence: Evidence) -> Iterator[Finding]:
    """Registered volumes share shape and affine with their subject's {common_grid}."""
    release = evidence.release
    mend = f"{_RESTORE}, or register it to the {release.common_grid}"
    for subject, row in evidence.manifest.items():
        reference = row.volumes[release.reference.column]
        for entry in (row.volumes[volume.column] for volume in release.registered):
            if reference and entry and (problem := entry.grid_difference(reference, release.common_grid)):
                yield Finding(problem, mend, entry.path, subject)


@enforced("subject_manifest", blocking=False)
def readable_headers(evidence: Evidence) -> Iterator[Finding]:
    """Every volume's header can be read; a subject with one that cannot fails in its own partition."""
    for subject, entry in _entries(evidence):
        if entry.fault:
            yield Finding(entry.fault, _RESTORE, entry.path, subject)


@enforced("subject_manifest", blocking=False)
def no_identifying_text(evidence: Evidence) -> Iterator[Finding]:
    """Free text in headers and extensions is nothing but that of known tools."""
    known = re.compile("|".join([*evidence.release.known_text, f"{re.escape(SYNTHETIC_MARK)}.*"]))
    for subject, entry in _entries(evidence):
        for text in entry.text or ():
            if not known.fullmatch(text["text"]):
                problem, mend = f"{text['field']} says {text['text']!r}", "make sure that it identifies nobody"
                yield Finding(problem, mend, entry.path, subject)


def _entries(evidence: Evidence) -> Iterator[tuple[str, VolumeEntry]]:
    """Every volume that is there, and its subject."""
    return ((subject, entry) for subject, row in evidence.manifest.items() for entry in row.volumes.values() if entry)


@enforced("subject_shard", blocking=False)
def volumes_decoded(evidence: Evidence) -> Iterator[Finding]:
    """Every volume that is packed was decoded: gzip CRC and length, header, grid and voxels."""
    for sidecar in evidence.shards:
        if not sidecar.decoded:
            mend = Materialize(("subject_shard",), sidecar.subject)
            yield Finding("was packed without decoding its volumes", mend, subject=sidecar.subject)
