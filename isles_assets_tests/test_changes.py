"""What is changed in a release or the code where all was green: exactly what must be rebuilt is rebuilt."""

import json
import struct
import zlib
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest

from isles_assets.graph.settings import Settings
from isles_assets.products import registry
from isles_assets.products.building import build_subject, state_of, up_to_date
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.preview import pictures
from isles_assets.products.preview import product as preview
from isles_assets.products.preview.pictures import Picture
from isles_assets.products.preview.product import Preview
from isles_assets.products.preview.shades import Window
from isles_assets.products.product import Build
from isles_assets.products.shard.product import Shard
from isles_assets.reading.tree import take_inventory
from isles_assets.release.clinical import Kind, Known, Variable
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid, Volume
from isles_assets.sample.tree import make_sample
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import read_manifest, survey
from isles_assets_tests.isles24 import BASELINE, SMALL
from isles_assets_tests.materials import volume
from isles_assets_tests.project import OF_TABLES, Project, failure
from isles_assets_tests.toy import CLINIC, SHARD, TOY, folder_at

FLAIR = Volume("flair", "rawdata", "ses-1", "anat", "FLAIR", Grid.COMMON, Content.MRI, "FLAIR")
WEIGHT = Variable(CLINIC, "Weight", None, "weight", Kind.NUMBER, "kg", Known.ADMISSION, "Weight", low=1, high=300)
NATIVE_DWI = Volume("dwi_native", "raw_data", "ses-02", "", "dwi", Grid.NATIVE, Content.MRI, "DWI as acquired")
GOLDEN = Path(__file__).with_name("golden.json")


def published(project: Project) -> set[str]:
    folder = project.folder.hub / project.setup.repo
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def written(folder: DataFolder) -> dict[str, dict[str, int]]:
    """The inode of every subject's files, by product: a file that was written again has another."""
    return {
        product.name: {
            p.relative_to(folder.root).as_posix(): p.stat().st_ino for p in product.root(folder).rglob("sub-*.parquet")
        }
        for product in Dataset.of(folder.release).products
    }


def rebuilt(project: Project, before: dict[str, dict[str, int]]) -> dict[str, set[str]]:
    """The subjects of which a file was written since, by product."""
    now = written(project.folder)
    return {
        name: {Path(path).stem for path, inode in files.items() if before[name].get(path) != inode}
        for name, files in now.items()
    }


def with_new_release(project: Project, release: Release, tmp_path: Path) -> Project:
    """The project with another release and a tree of it, on the same data folder and history."""
    tree = tmp_path / "new" / release.record.top
    make_sample(release, tree)
    settings = Settings(raw_root=str(tree), data_dir=project.settings.data_dir, workers=2)
    return Project(settings, project.instance, release)


@pytest.mark.parametrize(
    ("release", "columns"),
    [
        pytest.param(changed(TOY, volumes=(*TOY.volumes, FLAIR)), {"flair"}, id="volume added"),
        pytest.param(changed(TOY, volumes=TOY.volumes[:2]), set(), id="volume removed", marks=pytest.mark.long),
        pytest.param(
            changed(TOY, variables=(*TOY.variables, WEIGHT)), {"weight"}, id="variable added", marks=pytest.mark.long
        ),
        pytest.param(
            changed(TOY, variables=TOY.variables[:2], first_look=("age",)),
            set(),
            id="variable removed",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_line_more_or_less_in_the_tables_of_a_release_is_a_line(toy_built_copy, release, columns, tmp_path):
    before = written(toy_built_copy.folder)
    new = with_new_release(toy_built_copy, release, tmp_path)
    refused = failure(new.materialize("hub_dataset", checks=False), "hub_dataset")
    assert "was written by another version of isles-assets" in refused
    assert new.build().success
    assert rebuilt(new, before) == {"shard": set(TOY.subjects)}
    assert new.run("verify").success
    card = (new.folder.hub / new.setup.repo / "README.md").read_text()
    assert all(f"| `{column}` |" in card for column in columns)
    assert f"perfusion/train/{TOY.subjects[0]}.parquet" in published(new) or "perfusion" not in release.by_column


def versions(release: Release) -> dict[str, str]:
    return {product.name: product.version for product in Dataset.of(release).products}


def test_a_line_raises_the_versions_of_the_products_that_hold_it():
    """Shards and previews of another version are made again."""
    before = versions(SMALL)
    with_volume = versions(changed(SMALL, volumes=(*SMALL.volumes, NATIVE_DWI)))
    assert with_volume["preview"] == before["preview"] and with_volume["shard"] != before["shard"]
    weight = changed(WEIGHT, workbook=BASELINE)
    with_variable = versions(changed(SMALL, variables=(*SMALL.variables, weight)))
    assert all(with_variable[name] != before[name] for name in ("preview", "shard"))
    assert versions(changed(TOY, volumes=TOY.volumes[:2])) != versions(TOY)
    assert versions(changed(TOY, variables=TOY.variables[:2], first_look=("age",))) != versions(TOY)


@pytest.mark.long
def test_a_volume_that_the_pictures_do_not_need_leaves_the_previews_alone(small_built_copy, tmp_path):
    before = written(small_built_copy.folder)
    new = with_new_release(small_built_copy, changed(SMALL, volumes=(*SMALL.volumes, NATIVE_DWI)), tmp_path)
    assert new.build().success
    assert rebuilt(new, before) == {"shard": set(SMALL.subjects), "preview": set()}


@pytest.mark.long
def test_a_clinical_variable_rebuilds_what_holds_it(small_built_copy, tmp_path):
    weight = changed(WEIGHT, workbook=BASELINE)
    before = written(small_built_copy.folder)
    new = with_new_release(small_built_copy, changed(SMALL, variables=(*SMALL.variables, weight)), tmp_path)
    assert new.build().success
    assert rebuilt(new, before) == {"shard": set(SMALL.subjects), "preview": set(SMALL.subjects)}


def test_a_picture_rebuilds_the_previews_alone(small_built_copy, monkeypatch):
    bone = Picture("bone", "Bone", "ncct", Window(1500, 300), "Skull")
    for module in (pictures, preview):
        monkeypatch.setattr(module, "PICTURES", (*pictures.PICTURES, bone))
    before = written(small_built_copy.folder)
    small_built_copy.materialize("subject_shard", partitions=SMALL.subjects)
    assert rebuilt(small_built_copy, before) == {"shard": set(), "preview": set()}
    rows = read_manifest(small_built_copy.folder)
    state = state_of(Preview(SMALL), small_built_copy.folder, rows[SMALL.subjects[0]])
    assert state.sidecar is None and "has a preview of format" in state.reason


def test_what_people_read_of_a_volume_rebuilds_nothing(toy_built_copy):
    told = tuple(changed(volume, description="in other words") for volume in TOY.volumes)
    release = changed(TOY, volumes=told, about="subjects", oddities=())
    folder = DataFolder(toy_built_copy.folder.root, release)
    assert up_to_date(Shard(release), folder, list(read_manifest(folder).values())).keys() == set(TOY.subjects)


def stored_gzip(content: bytes) -> bytes:
    """`content` in a gzip file that is the same whichever zlib there is: it is not compressed."""
    pieces = [content[start : start + 0xFFFF] for start in range(0, len(content), 0xFFFF)]
    blocks = [struct.pack("<BHH", i == len(pieces) - 1, len(p), len(p) ^ 0xFFFF) + p for i, p in enumerate(pieces)]
    end = struct.pack("<II", zlib.crc32(content), len(content))
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"".join(blocks) + end


def test_bytes_that_change_change_their_version(tmp_path):
    """Golden digests of what is made of the toy: other bytes under the same version are not to be published."""
    subject, root, folder = TOY.subjects[0], tmp_path / "toys", folder_at(tmp_path / "data")
    for number, each in enumerate(TOY.volumes, start=1):
        shape = (4, 3, 2, 5)[: each.dimensions]
        voxels = (np.arange(np.prod(shape), dtype=np.int16) % (2 if each.content is Content.MASK else 7)).reshape(shape)
        path = root / each.path(subject)
        path.parent.mkdir(parents=True)
        path.write_bytes(stored_gzip(volume(voxels, np.diag([number, 1, 1, 1])).to_bytes()))
    clinical = {subject: {"age": 71.5, "hand": "left", "score": None}}
    (row,) = survey(TOY, root, take_inventory(TOY, root), clinical)
    schemas = {config.name: annotated_schema(config) for config in SHARD.configs}
    sidecar = build_subject(SHARD, Build(root, folder, schemas), row)
    digests = {f"{name} of {SHARD.version}": file.sha256 for name, file in sidecar.files.items()}
    assert digests == json.loads(GOLDEN.read_text()), (
        f"The bytes of a shard have changed. Raise `Shard.code_version`, and then put into {GOLDEN.name}:\n"
        f"{json.dumps(digests, indent=1)}"
    )


def test_a_raised_code_version_rebuilds_all_of_its_product(toy_built_copy, monkeypatch):
    monkeypatch.setattr(Shard, "code_version", Shard.code_version + 1)
    rows = list(read_manifest(toy_built_copy.folder).values())
    assert up_to_date(Shard(TOY), toy_built_copy.folder, rows) == {}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"variables": TOY.variables[:2]}, "first_look or centre name score, which is no column"),
        ({"volumes": (*TOY.volumes, TOY.volumes[0])}, "more than one column is named t1"),
        ({"workbooks": ()}, "clinic is not among the workbooks"),
    ],
)
def test_a_table_at_odds_with_itself_is_said_when_it_is_loaded(fields, says):
    with pytest.raises(ValueError, match=says):
        changed(TOY, **fields)


def test_part_of_a_release_is_a_release(toy_built_copy, toy_tree):
    part = TOY.only(TOY.subjects[1:3])
    assert part.subjects == TOY.subjects[1:3] and part.volumes == TOY.volumes
    folder = DataFolder(toy_built_copy.folder.root, part)
    products = Dataset.of(part).products
    assert [product.version for product in products] == [product.version for product in Dataset.of(TOY).products]
    rows = [read_manifest(folder)[subject] for subject in part.subjects]
    assert up_to_date(products[0], folder, rows).keys() == set(part.subjects)


def test_the_registry_lists_each_product_once():
    assert len({product.name for product in registry.PRODUCTS}) == len(registry.PRODUCTS)
    assert OF_TABLES[-1] == "subject_manifest"
