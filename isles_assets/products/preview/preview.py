"""A subject's preview, pictures of one slice beside facts, in a small Parquet file; and the published table of all.

`build_preview` is the whole job for one subject and depends on nothing but its arguments, so that it can run in any
process. Each volume that it looks at is read once and verified on the way; nothing is drawn before all were.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.graph.commands import materialize_partition
from isles_assets.lib.files import sha256_of, written_whole
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.products.footer import FOOTER_KEY, provenance
from isles_assets.products.preview.facts import Seen, fact_fields, header_facts, voxel_facts
from isles_assets.products.preview.montage import montage
from isles_assets.products.preview.pictures import PICTURES, THICKNESS, Drawing, draw
from isles_assets.products.preview.scene import Axes, read_scene
from isles_assets.products.schema import MEDIA, SUBJECT_COLUMN, clinical_fields
from isles_assets.products.sidecars import State, read_record, recorded_state, store_record
from isles_assets.products.sources import (
    OffenceError,
    Source,
    check_facts,
    clinical_digest,
    facts_of,
    offence,
    offences,
    read_source,
)
from isles_assets.reading.nifti import NiftiError, See
from isles_assets.release.volumes import VOLUMES, Grid
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import SubjectManifest

PREVIEW_VERSION = 1
"""To be raised when the same volumes are to have other pictures or facts: then every preview is made again."""

DECODED = tuple(v.column for v in VOLUMES if v.grid is Grid.NCCT and v.dimensions == 3)
"""The volumes that are read: those on the grid that the pictures are of. A series is never."""

_MONTAGE = "montage"
_ROWS_IN_GROUP = 10


@dataclass(frozen=True)
class PreviewRecord:
    """What is known of a subject's preview: `facts` by column, `sources` of what was read by column.

    `version` is the writer's, `clinical` a digest of the clinical values, `size` in bytes and `sha256` are the file's.
    """

    subject: str
    version: int
    clinical: str
    synthetic: bool
    size: int
    sha256: str
    facts: dict[str, Any]
    sources: dict[str, Source]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @property
    def data_version(self) -> str:
        """Equal for equal pictures, facts and clinical values."""
        return self.sha256

    @classmethod
    def from_json(cls, text: str) -> "PreviewRecord":
        """Raises `ValueError`, `KeyError` or `TypeError` for a text that `to_json` did not write."""
        content = json.loads(text)
        sources = {column: Source.from_dict(source) for column, source in content.pop("sources").items()}
        return cls(sources=sources, **content)


def preview_schema() -> pa.Schema:
    """The published columns: subject, facts, pictures, and the 33 clinical variables."""
    pictures = [pa.field(picture.column, MEDIA) for picture in PICTURES]
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *fact_fields(), *pictures, *clinical_fields()])


def build_preview(root: Path, folder: DataFolder, subject: SubjectManifest) -> PreviewRecord:
    """Make the preview of `subject` from the tree at `root`, whether or not it is up to date.

    Raises `Refusal` naming each file that is not what the manifest says, not a valid volume, or not on the grid of the
    NCCT. The preview made before then stays as it was.
    """
    try:
        return _build(root, folder, subject)
    except OffenceError as first:
        everything = offences(DECODED, partial(_use, root, subject))
        raise Refusal(f"{subject.subject} has no preview.", everything or [first.finding]) from first


def preview_state(folder: DataFolder, subject: SubjectManifest) -> State[PreviewRecord]:
    """Whether the preview on disk is that of the manifest's row: by its record, and by its own size and digest.

    Where the manifest has digests, they decide and not the sources' times; the record returned has the times as the
    manifest has them. No volume is read.
    """
    path = folder.preview_record(subject.subject)
    state = recorded_state(path, PreviewRecord, subject, PREVIEW_VERSION, "preview")
    record = state.record
    if record is None:
        return state
    if any(record.facts.get(column) != value for column, value in header_facts(subject.volumes).items()):
        return State(None, "has a preview made before the CTP series changed")
    if not _is_intact(folder, record):
        return State(None, "has a preview that is not the one recorded")
    return state


def read_montage(folder: DataFolder, subject: str) -> bytes:
    """All pictures of `subject` on one page, as JPEG. Raises `Refusal` where there is no preview."""
    try:
        table = pq.read_table(folder.preview(subject), columns=[_MONTAGE])
    except (OSError, pa.ArrowInvalid) as error:
        raise Refusal("There is no picture to show.", [_missing(subject)]) from error
    return bytes(table.column(_MONTAGE)[0].as_py())


def write_preview_table(path: Path, folder: DataFolder, subjects: Iterable[str], schema: pa.Schema) -> None:
    """Write the previews of `subjects` (ids) as one Parquet file, in the order of their ids, whole or not at all.

    `schema` is that of `preview_schema`, with what metadata the file shall have. Groups are of ten rows and there is an
    index of pages, so that a reader of a few rows reads little more. Memory is that of one group. The same previews
    give the same bytes. Raises `Refusal` naming each subject whose preview is not there or not what was recorded.
    """
    subjects = sorted(subjects)
    records = {subject: _intact_record(folder, subject) for subject in subjects}
    if missing := [_missing(subject) for subject, record in records.items() if record is None]:
        raise Refusal("The table of previews was not written.", missing)
    synthetic = any(record.synthetic for record in records.values() if record)
    footer = {FOOTER_KEY: json.dumps(provenance(PREVIEW_VERSION, synthetic), sort_keys=True)}
    described = schema.with_metadata({**(schema.metadata or {}), **footer})
    with (
        written_whole(path) as temporary,
        pq.ParquetWriter(temporary, described, write_page_index=True, **_layout()) as writer,
    ):
        for first in range(0, len(subjects), _ROWS_IN_GROUP):
            some = [_read(folder, subject, described) for subject in subjects[first : first + _ROWS_IN_GROUP]]
            writer.write_table(pa.concat_tables(some).combine_chunks())


def headline(subject: SubjectManifest, facts: Mapping[str, Any]) -> str:
    """The facts that one wants beside the pictures, in one line."""

    def by(values: Iterable[float]) -> str:
        return " x ".join(f"{value:.3g}" for value in values)

    lesion = f"lesion {facts['lesion_ml']:.4g} ml" if facts["lesion_voxels"] else "no lesion marked"
    parts = [
        f"{'SYNTHETIC ' if subject.synthetic else ''}{subject.subject}",
        f"{lesion}, slice {facts['shown_slice']}",
        f"NCCT {by(facts['ncct_shape'])}, {by(facts['ncct_spacing_mm'])} mm",
        f"CTP {facts['ctp_frames']} frames" if facts["ctp_frames"] else "CTP unknown",
        f"LVO {facts['lvo_voxels']} voxels" if facts["lvo_voxels"] else "no LVO marked",
        f"CoW {len(facts['cow_labels'])} labels" if facts["cow_voxels"] else "no CoW marked",
    ]
    return "  |  ".join(parts)


def _build(root: Path, folder: DataFolder, subject: SubjectManifest) -> PreviewRecord:
    for column in DECODED:
        _check(root, subject, column)
    ncct = facts_of(subject, "ncct")
    assert ncct.shape and ncct.affine
    try:
        axes = Axes.of(ncct.shape, ncct.affine)
    except NiftiError as error:
        raise offence(subject, "ncct", str(error)) from error

    read: dict[str, Source] = {}

    def look(column: str, see: See) -> None:
        read[column] = read_source(root, subject, column, see=see)

    scene = read_scene(axes, THICKNESS, look)
    sources = {column: read.get(column) or read_source(root, subject, column) for column in DECODED}
    voxels = {column: source.voxels for column, source in sources.items() if source.voxels}
    facts = header_facts(subject.volumes) | voxel_facts(Seen(voxels, scene.slice))
    drawings = draw(scene)
    page = montage(drawings, headline(subject, facts))
    size, sha256 = _write(folder, subject, facts, drawings, page)
    record = PreviewRecord(
        subject.subject, PREVIEW_VERSION, clinical_digest(subject), subject.synthetic, size, sha256, facts, sources
    )
    store_record(folder.preview_record(subject.subject), record)
    return record


def _check(root: Path, subject: SubjectManifest, column: str) -> None:
    """Raise `OffenceError` for a volume that is known to be unfit before it is read."""
    check_facts(root, subject, column)
    ncct = subject.volumes["ncct"]
    if ncct and (difference := facts_of(subject, column).grid_difference(ncct)):
        raise offence(subject, column, difference)


def _use(root: Path, subject: SubjectManifest, column: str) -> None:
    """Raise `OffenceError` for a volume that nothing can be drawn from."""
    _check(root, subject, column)
    read_source(root, subject, column)


def _write(
    folder: DataFolder, subject: SubjectManifest, facts: Mapping[str, Any], drawings: Mapping[str, Drawing], page: bytes
) -> tuple[int, str]:
    """Write the subject's file; its size and SHA-256."""
    pictures = {
        picture.column: {"bytes": drawings[picture.name].png, "path": picture.filename(subject.subject)}
        for picture in PICTURES
    }
    row = {SUBJECT_COLUMN: subject.subject, **facts, **pictures, **subject.clinical, _MONTAGE: page}
    table = pa.Table.from_pylist([row], preview_schema().append(pa.field(_MONTAGE, pa.binary())))
    with written_whole(folder.preview(subject.subject)) as temporary:
        pq.write_table(table, temporary, **_layout())
        size, sha256 = temporary.stat().st_size, sha256_of(temporary)
        folder.preview_record(subject.subject).unlink(missing_ok=True)  # it is of the file that is replaced now
    return size, sha256


def _layout() -> dict[str, Any]:
    """How pyarrow writes: pictures are compressed already, and statistics of them would hold whole ones."""
    statistics = [name for field in preview_schema() for name in _leaves(field)]
    return {"compression": "none", "use_dictionary": False, "write_statistics": statistics}


def _leaves(field: pa.Field) -> list[str]:
    if field.type == MEDIA:
        return [f"{field.name}.path"]
    return [f"{field.name}.list.element"] if pa.types.is_list(field.type) else [field.name]


def _read(folder: DataFolder, subject: str, schema: pa.Schema) -> pa.Table:
    return pq.read_table(folder.preview(subject), columns=schema.names).select(schema.names).cast(schema)


def _intact_record(folder: DataFolder, subject: str) -> PreviewRecord | None:
    """The record of a preview that is there and as recorded; else None."""
    record = read_record(folder.preview_record(subject), PreviewRecord)
    return record if record and _is_intact(folder, record) else None


def _is_intact(folder: DataFolder, record: PreviewRecord) -> bool:
    path = folder.preview(record.subject)
    return path.exists() and (path.stat().st_size, sha256_of(path)) == (record.size, record.sha256)


def _missing(subject: str) -> Finding:
    return Finding(subject, "", "has no preview that is complete", materialize_partition("subject_preview", subject))
