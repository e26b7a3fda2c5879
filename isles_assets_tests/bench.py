"""A part of the release to damage, and what the properties find in it. Test modules name it in `pytest_plugins`."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from isles_assets.lib.findings import Finding
from isles_assets.publication.judging import stopping
from isles_assets.publication.properties import Evidence, properties_of
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import ClinicalRow, read_clinical_rows
from isles_assets.sample.clinical import HYPERLIPIDEMIA_2
from isles_assets.sample.tree import make_sample
from isles_assets.tables.clinical import clinical_table, write_clinical_findings
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import write_inventory
from isles_assets.tables.manifest import manifest_table, survey
from isles_assets.tables.storage import write_table
from isles_assets_tests.conftest import MadeOnce, copy_of
from isles_assets_tests.isles24 import BY_COLUMN, DICTIONARY, ISLES24, SMALL
from isles_assets_tests.materials import write_volume

SUBJECT = "sub-stroke0014"
OTHER = "sub-stroke0002"
WITHDRAWN = "sub-stroke0160"
NCCT, LESION, CBF = (BY_COLUMN[column].path(SUBJECT) for column in ("ncct", "lesion_mask", "cbf"))
PROPERTIES = properties_of(ISLES24)
STRAY = "sub-stroke0142"
PART = ISLES24.only([*SMALL.subjects, OTHER, STRAY, HYPERLIPIDEMIA_2])
"""A part of the release that holds all that a property is known to find."""


@pytest.fixture(scope="session")
def part_sample_tree(made_once: MadeOnce) -> Path:
    """The sample of that part; not to be changed."""
    return made_once("part", lambda folder: make_sample(PART, folder / "train", workers=2)) / "train"


@pytest.fixture
def part_tree(part_sample_tree: Path, tmp_path: Path) -> Path:
    """A copy of that sample to damage. Files are hard links: replace them, never write into them."""
    return copy_of(part_sample_tree, tmp_path / PART.record.top)


@dataclass(frozen=True)
class Tables:
    """The rows by subject as the assets make them from the untouched sample."""

    clinical: Mapping[str, ClinicalRow]
    manifest: pa.Table


@pytest.fixture(scope="module")
def usual(part_sample_tree):
    inventory = take_inventory(PART, part_sample_tree)
    clinical = {row.subject: row for row in read_clinical_rows(PART, part_sample_tree, PART.subjects)}
    manifest = survey(PART, part_sample_tree, inventory, {s: row.values for s, row in clinical.items()})
    return Tables(clinical, manifest_table(PART, manifest))


@dataclass(frozen=True)
class Bench:
    """A tree to damage, and the evidence that the assets would then make of it."""

    tree: Path
    folder: DataFolder
    usual: Tables

    def evidence(self, *touched: str) -> Evidence:
        """Write the tables; only the workbooks and volumes of the `touched` subjects are read again."""
        inventory = take_inventory(PART, self.tree)
        write_inventory(self.folder, inventory)
        found = set(map(PART.subject_of, inventory)).intersection(PART.subjects)
        clinical = dict(self.usual.clinical)
        clinical |= {row.subject: row for row in read_clinical_rows(PART, self.tree, found.intersection(touched))}
        self.write_clinical(clinical[subject] for subject in found)
        surveyed = survey(PART, self.tree, inventory, {subject: clinical[subject].values for subject in touched})
        others = self.usual.manifest.filter(
            pc.field("subject_id").isin(pa.array(found.difference(touched), pa.string()))
        )
        manifest = pa.concat_tables([others, manifest_table(PART, surveyed)]).sort_by("subject_id")
        write_table(self.folder.manifest, manifest)
        return Evidence(self.tree, self.folder)

    def write_clinical(self, rows):
        rows = list(rows)
        write_clinical_findings(self.folder, rows)
        write_table(self.folder.clinical, clinical_table(PART, rows))

    def edit_volume(self, path, **fields):
        """The image at `path`, to be saved again; `fields` are set in its header."""
        image = self.image(path)
        for name, value in fields.items():
            image.header[name] = value
        write_volume(self.tree / path, image)

    def image(self, path):
        return nib.Nifti1Image.from_bytes(gzip.decompress((self.tree / path).read_bytes()))

    def edit_dictionary(self, edit):
        path = self.tree / DICTIONARY.path
        book = openpyxl.load_workbook(path)
        edit(book[DICTIONARY.sheet])
        path.unlink()
        book.save(path)


@pytest.fixture
def bench(part_tree, tmp_path, usual):
    return Bench(part_tree, DataFolder(tmp_path / "data", PART), usual)


@pytest.fixture(scope="module")
def usual_findings(part_sample_tree, tmp_path_factory, usual):
    """What the properties find in the untouched sample."""
    bench = Bench(part_sample_tree, DataFolder(tmp_path_factory.mktemp("usual"), PART), usual)
    return findings_by_name(bench.evidence())


def findings_by_name(evidence):
    found = {prop.name: prop.find(evidence) for prop in PROPERTIES}
    return {name: findings for name, findings in found.items() if findings}


def what_stops_publishing(evidence: Evidence) -> list[Finding]:
    return stopping(evidence)


@pytest.fixture
def new_findings(bench, usual_findings):
    """Function: what the properties find beyond what they find in the untouched sample, by their names."""

    def find(*touched):
        found = findings_by_name(bench.evidence(*touched))
        new = {name: [f for f in findings if f not in usual_findings.get(name, [])] for name, findings in found.items()}
        return {name: findings for name, findings in new.items() if findings}

    return find


def only(findings, name):
    """The one finding of the one property that found anything."""
    assert list(findings) == [name], findings
    (finding,) = findings[name]
    return finding
