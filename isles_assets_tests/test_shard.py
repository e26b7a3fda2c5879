"""Shards: the release's bytes unchanged, read back by the libraries that users read them with."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import time
import zlib
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isles_assets.lib.files import sha256_of
from isles_assets.lib.findings import Refusal
from isles_assets.lib.parquet import Streamed, write_row
from isles_assets.lib.workers import map_in_processes
from isles_assets.products.building import State, build_subject, state_of
from isles_assets.products.config import MEDIA, Config
from isles_assets.products.features import annotated_schema, features
from isles_assets.products.footer import FOOTER_KEY
from isles_assets.products.product import Build
from isles_assets.products.sidecar import Sidecar
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.sample.tree import make_sample
from isles_assets.tables.clinical import clinical_table, clinical_values
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow, manifest_table, read_manifest
from isles_assets.tables.manifest import survey as survey_tree
from isles_assets.tables.storage import write_table
from isles_assets_tests.isles24 import BY_COLUMN, CONFIGS, ISLES24, SHARD, VARIABLES, VOLUMES, folder_at
from isles_assets_tests.processes import often
from isles_assets_tests.project import replace

SUBJECT = "sub-stroke0158"  # its lesion mask is stored as 0 and 65535
SCHEMAS = {config.name: annotated_schema(config) for config in CONFIGS}
DEFAULT, CTP_NCCT = CONFIGS


def survey(tree: Path, subject: str = SUBJECT) -> ManifestRow:
    table = clinical_table(ISLES24, read_clinical_rows(ISLES24, tree, [subject]))
    (row,) = survey_tree(ISLES24, tree, take_inventory(ISLES24, tree), clinical_values(table))
    return row


def build_shard(tree: Path, folder: DataFolder, row: ManifestRow) -> Sidecar:
    return build_subject(SHARD, Build(tree, folder, SCHEMAS), row)


def shard(folder: DataFolder, config: Config, subject: str = SUBJECT) -> Path:
    return SHARD.path(folder, config, subject)


def shard_state(folder: DataFolder, row: ManifestRow) -> State:
    return state_of(SHARD, folder, row)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return folder_at(tmp_path / "data")


def test_every_source_is_in_the_shards_byte_for_byte(small_sample_tree, folder):
    record = build_shard(small_sample_tree, folder, survey(small_sample_tree))
    seen = set()
    for config in CONFIGS:
        (row,) = pq.read_table(shard(folder, config)).to_pylist()
        assert row["subject_id"] == SUBJECT
        for column in config.volumes:
            source = small_sample_tree / BY_COLUMN[column].path(SUBJECT)
            assert row[column] == {"bytes": source.read_bytes(), "path": source.name}
            assert record.sources[column].sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
            seen.add(column)
    assert seen == {volume.column for volume in VOLUMES}


def test_columns_types_and_layout_are_the_contract(small_sample_tree, folder):
    build_shard(small_sample_tree, folder, survey(small_sample_tree))
    with pq.ParquetFile(shard(folder, DEFAULT)) as file:
        volumes = [v.column for v in VOLUMES if v.column != "ctp_ncct"]
        assert file.schema_arrow.names == ["subject_id", *volumes, *(v.column for v in VARIABLES)]
        assert {file.schema_arrow.field(name).type for name in volumes} == {MEDIA}
        assert (file.metadata.num_rows, file.metadata.num_row_groups) == (1, 1)
        group = file.metadata.row_group(0)
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        assert {columns[f"{name}.bytes"].compression for name in volumes} == {"UNCOMPRESSED"}
        assert not any(columns[f"{name}.bytes"].statistics.has_min_max for name in volumes)
    assert pq.read_schema(shard(folder, CTP_NCCT)).names == ["subject_id", "ctp_ncct"]


def test_footer_names_every_source_with_its_digest(small_sample_tree, folder):
    record = build_shard(small_sample_tree, folder, survey(small_sample_tree))
    for config in CONFIGS:
        metadata = pq.read_metadata(shard(folder, config)).metadata
        footer = json.loads(metadata[FOOTER_KEY.encode()])
        assert (footer["format"], footer["release"]["version"], footer["synthetic"]) == (SHARD.version, "v7", True)
        assert footer["sources"] == {
            column: {
                "path": BY_COLUMN[column].path(SUBJECT),
                "size": (small_sample_tree / BY_COLUMN[column].path(SUBJECT)).stat().st_size,
                "sha256": record.sources[column].sha256,
                "crc32": zlib.crc32((small_sample_tree / BY_COLUMN[column].path(SUBJECT)).read_bytes()),
            }
            for column in config.volumes
        }
        assert json.loads(metadata[b"huggingface"])["info"]["features"].keys() == features(config).keys()


def with_other_age(subject: ManifestRow) -> ManifestRow:
    return dataclasses.replace(subject, clinical={**subject.clinical, "age": 99})


def test_a_record_is_not_taken_for_that_of_a_shard_with_other_clinical_values(small_sample_tree, folder, tmp_path):
    """Two runs over one subject, one of them with an older manifest, may leave such a pair."""
    subject, older = survey(small_sample_tree), with_other_age(survey(small_sample_tree))
    build_shard(small_sample_tree, other := folder_at(tmp_path / "other"), older)
    build_shard(small_sample_tree, folder, subject)
    assert shard_state(folder, subject).sidecar
    assert shard(folder, CTP_NCCT).read_bytes() == shard(other, CTP_NCCT).read_bytes()
    assert shard(folder, DEFAULT).stat().st_size == shard(other, DEFAULT).stat().st_size
    shard(other, DEFAULT).rename(shard(folder, DEFAULT))
    reason = f"has a shard that is not the one recorded: shards/default/{SUBJECT}.parquet"
    assert shard_state(folder, subject).reason == reason


@pytest.mark.long
def test_runs_that_build_one_subject_at_once_leave_what_is_as_recorded_or_is_made_again(small_sample_tree, folder):
    subject = survey(small_sample_tree)
    subjects = {"one": subject, "another": subject, "with older manifest": with_other_age(subject)}
    build, start = Build(small_sample_tree, folder, SCHEMAS), time.time() + 2
    arguments = {name: (start, 10, build_subject, SHARD, build, row) for name, row in subjects.items()}
    processes = dict(map_in_processes(often, arguments, len(arguments)))
    assert len(set(processes.values())) == len(arguments), processes
    for row in subjects.values():
        record = shard_state(folder, row).sidecar or build_shard(small_sample_tree, folder, row)
        assert {config.name: sha256_of(shard(folder, config)) for config in CONFIGS} == {
            name: file.sha256 for name, file in record.files.items()
        }
    assert not list(folder.root.rglob("*.tmp"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_datasets_reads_a_bare_shard_with_decoding_volumes(small_sample_tree, folder, config, tmp_path):
    build_shard(small_sample_tree, folder, survey(small_sample_tree))
    path = str(shard(folder, config))
    dataset = datasets.Dataset.from_parquet(path, cache_dir=str(tmp_path / "cache"))
    assert dataset.features == features(config)
    for column in config.volumes:
        assert dataset[0][column].header["descrip"].tobytes().startswith(b"SYNTHETIC")


def test_record_holds_what_the_masks_mark(small_sample_tree, folder):
    record = build_shard(small_sample_tree, folder, survey(small_sample_tree))
    lesion = record.sources["lesion_mask"].voxels
    image = datasets.Nifti().decode_example(
        {"path": None, "bytes": (small_sample_tree / BY_COLUMN["lesion_mask"].path(SUBJECT)).read_bytes()}
    )
    assert lesion.marked == round(image.get_fdata().sum()) > 0
    assert lesion.labels == [1]
    spacing = image.header.get_zooms()
    assert lesion.marked_ml == pytest.approx(lesion.marked * spacing[0] * spacing[1] * spacing[2] / 1000, rel=1e-4)
    assert len(record.sources["cow_mask"].voxels.labels) >= 8
    assert Sidecar.from_json(record.to_json()) == record


def test_empty_lesion_is_packed_and_counted_as_empty(small_sample_tree, folder):
    record = build_shard(small_sample_tree, folder, survey(small_sample_tree, "sub-stroke0141"))
    assert (record.sources["lesion_mask"].voxels.marked, record.sources["lesion_mask"].voxels.labels) == (0, [])


def test_non_finite_voxels_are_kept_and_counted(folder, tmp_path):
    make_sample(ISLES24.only(["sub-stroke0113"]), tree := tmp_path / "train")
    record = build_shard(tree, folder, survey(tree, "sub-stroke0113"))
    assert record.sources["mtt"].voxels.non_finite > 0
    assert record.sources["cbf"].voxels.non_finite == 0


def test_state_is_up_to_date_only_after_building(small_sample_tree, folder):
    subject = survey(small_sample_tree)
    assert shard_state(folder, subject).reason == "has no shard yet"
    record = build_shard(small_sample_tree, folder, subject)
    assert shard_state(folder, subject).sidecar == record


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: shard(folder, DEFAULT).unlink(),
        lambda folder: shard(folder, CTP_NCCT).unlink(),
        lambda folder: SHARD.sidecar_path(folder, SUBJECT).write_text("{"),
        lambda folder: SHARD.sidecar_path(folder, SUBJECT).unlink(),
        lambda folder: replace(shard(folder, DEFAULT), b"PAR1"),
        lambda folder: replace(shard(folder, CTP_NCCT), shard(folder, DEFAULT).read_bytes()),
    ],
)
def test_a_spoiled_shard_is_not_up_to_date(small_sample_tree, folder, spoil):
    subject = survey(small_sample_tree)
    build_shard(small_sample_tree, folder, subject)
    spoil(folder)
    state = shard_state(folder, subject)
    assert state.sidecar is None and state.reason
    rebuilt = build_shard(small_sample_tree, folder, subject)
    assert shard_state(folder, subject).sidecar == rebuilt


def test_a_changed_clinical_value_makes_the_shard_stale(small_sample_tree, folder):
    subject = survey(small_sample_tree)
    build_shard(small_sample_tree, folder, subject)
    older = dataclasses.replace(subject, clinical={**subject.clinical, "age": 1.5})
    assert shard_state(folder, older).sidecar is None


def damage_bytes(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("column", "damage", "message"),
    [
        ("cta", lambda path: path.read_bytes()[:-9], "is cut short"),
        ("cta", damage_bytes, "is damaged"),
        ("dwi", lambda path: b"", "is missing or empty"),
        ("dwi", lambda path: b"not a volume at all", "is not a gzip file"),
    ],
)
def test_a_damaged_volume_is_refused_by_name_and_leaves_nothing(small_tree, folder, column, damage, message):
    path = small_tree / BY_COLUMN[column].path(SUBJECT)
    replace(path, damage(path))
    with pytest.raises(Refusal) as refusal:
        build_shard(small_tree, folder, survey(small_tree))
    (finding,) = refusal.value.findings
    assert (finding.subject, finding.path) == (SUBJECT, BY_COLUMN[column].path(SUBJECT))
    assert message in finding.problem
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


def test_a_volume_that_is_merely_odd_is_packed_as_it_is(small_tree, folder):
    """A mask with other labels, three axes where a series has four."""
    paths = {column: small_tree / BY_COLUMN[column].path(SUBJECT) for column in ("lvo_mask", "cow_mask", "ctp", "cta")}
    odd = {"lvo_mask": paths["cow_mask"].read_bytes(), "ctp": paths["cta"].read_bytes()}
    for column, content in odd.items():
        replace(paths[column], content)
    sources = build_shard(small_tree, folder, survey(small_tree)).sources
    assert sources["lvo_mask"].voxels == sources["cow_mask"].voxels
    assert {sources[column].sha256 for column in odd} == {
        hashlib.sha256(content).hexdigest() for content in odd.values()
    }


def test_all_damaged_volumes_are_named_at_once(small_tree, folder):
    for column in ("cta", "adc", "cbf_native"):
        replace(small_tree / BY_COLUMN[column].path(SUBJECT), b"x")
    with pytest.raises(Refusal) as refusal:
        build_shard(small_tree, folder, survey(small_tree))
    assert [f.path for f in refusal.value.findings] == [
        BY_COLUMN[column].path(SUBJECT) for column in ("cta", "adc", "cbf_native")
    ]


def test_a_volume_that_changed_after_the_manifest_is_refused(small_tree, folder):
    subject = survey(small_tree)
    path = small_tree / BY_COLUMN["ncct"].path(SUBJECT)
    replace(path, path.read_bytes())
    with pytest.raises(Refusal, match="has changed since the manifest was made"):
        build_shard(small_tree, folder, subject)


def test_a_refused_rebuild_leaves_the_shard_of_before(small_tree, folder):
    build_shard(small_tree, folder, survey(small_tree))
    before = shard(folder, DEFAULT).read_bytes()
    replace(small_tree / BY_COLUMN["ncct"].path(SUBJECT), b"x")
    with pytest.raises(Refusal):
        build_shard(small_tree, folder, survey(small_tree))
    assert shard(folder, DEFAULT).read_bytes() == before


def test_a_shard_that_does_not_hold_its_sources_is_not_kept(small_sample_tree, folder, monkeypatch):
    def write_another(file, schema, row, metadata, **options):
        if "cta" not in row:
            return write_row(file, schema, row, metadata, **options)
        original = row["cta"]["bytes"]

        def write_to(sink):
            original.write_to(lambda piece: None)
            sink(b"x" * original.size)

        spoiled = row | {"cta": row["cta"] | {"bytes": Streamed(original.size, write_to)}}
        return write_row(file, schema, spoiled, metadata, **options)

    monkeypatch.setattr("isles_assets.products.shard.product.write_row", write_another)
    with pytest.raises(Refusal, match="does not hold the bytes of its sources") as refusal:
        build_shard(small_sample_tree, folder, survey(small_sample_tree))
    assert [finding.path for finding in refusal.value.findings] == [BY_COLUMN["cta"].path(SUBJECT)]
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


def test_manifest_survives_its_table(small_sample_tree, folder):
    subject = survey(small_sample_tree)
    write_table(folder.manifest, manifest_table(ISLES24, [subject]))
    assert read_manifest(folder) == {SUBJECT: subject}
    assert isinstance(pq.read_table(folder.manifest).column("ncct").type, pa.StructType)


LIMITED = """
import resource, sys
from isles_assets.lib.findings import Refusal
from isles_assets_tests.test_shard import Path, build_shard, folder_at, survey
tree, data = map(Path, sys.argv[1:])
subject = survey(tree)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    build_shard(tree, folder_at(data), subject)
except Refusal as refusal:
    sys.exit(str(refusal))
"""


def test_a_write_that_fails_is_explained_and_leaves_no_file(small_sample_tree, folder):
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, small_sample_tree, folder.root], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "larger than this system allows" in run.stderr
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []
