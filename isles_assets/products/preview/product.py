"""A subject's preview, pictures of one slice beside facts, in a small Parquet file; and the published table of all.

Each volume that is looked at is verified on the way; nothing is drawn before all were. One that is merely odd is left
out of the pictures: whatever a subject is like, it has a preview, or nothing could be published.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from statistics import median, median_high
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.files import status_of, written_whole
from isles_assets.lib.findings import Finding, Materialize, Refusal, name_some
from isles_assets.lib.markdown import markdown_table
from isles_assets.lib.shown import Markdown, shown_size
from isles_assets.products.config import MEDIA, Config
from isles_assets.products.footer import FOOTER_KEY, provenance
from isles_assets.products.preview.digesting import DigestingWriter, Identity, identity_of
from isles_assets.products.preview.facts import Decoded, all_facts, header_facts, values, voxel_facts
from isles_assets.products.preview.left_out import left_out, looked_at
from isles_assets.products.preview.montage import montage, small
from isles_assets.products.preview.pictures import PICTURES, THICKNESS, draw
from isles_assets.products.preview.scene import LESION, REFERENCE, Axes, Read, Scene, read_scene
from isles_assets.products.product import Build, CardParts, Made, Product, PublicationFile
from isles_assets.products.sidecar import BuiltFile, Sidecar
from isles_assets.products.sources import Source, UnfitError, read_source
from isles_assets.reading.nifti import See
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables import TAKE_STOCK
from isles_assets.tables.clinical import clinical_fields
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN

CARD_PICTURE = "preview/overview.jpg"

_NEEDED = {REFERENCE, LESION, "ctp", "lvo_mask", "cow_mask", *THICKNESS}
_SHORT = {LESION: "lesion", "lvo_mask": "LVO", "cow_mask": "CoW"}
_MONTAGE = "montage"
_ROWS_IN_GROUP = 10


class Preview(Product):
    """Pictures and facts of a subject."""

    name = "preview"
    plural = "previews"
    code_version = 3
    kinds = frozenset({"image", "parquet"})
    description = """Small pictures and facts of a subject, for a look before publishing and for the Hub's viewer.

    A subject that cannot be drawn does not stop the others."""
    refused = "has no preview"
    published_apart = False

    @classmethod
    def fits(cls, release: Release) -> bool:
        return release.by_column.keys() >= _NEEDED

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        description = "small pictures, facts of the volumes and the clinical variables, for a look and for tables"
        pictures = [pa.field(picture.column, MEDIA) for picture in PICTURES]
        facts = [pa.field(fact.column, fact.type) for fact in all_facts(self.release)]
        subject = pa.field(SUBJECT_COLUMN, pa.string())
        schema = pa.schema([subject, *facts, *pictures, *clinical_fields(self.release)])
        return (Config(self.name, self.name, description, schema, joined=True),)

    @cached_property
    def sources(self) -> tuple[Volume, ...]:
        return looked_at(self.release)

    @property
    def other_files(self) -> tuple[str, ...]:
        return (CARD_PICTURE,)

    @property
    def derives_from(self) -> Sequence[Any]:
        pictures = [(*astuple(picture)[:3], str(picture.shading), *astuple(picture)[5:]) for picture in PICTURES]
        return [*pictures, self._backgrounds]

    @property
    def _backgrounds(self) -> dict[str, float]:
        return {volume.column: volume.background for volume in self.sources if volume.background}

    def path(self, folder: DataFolder, config: Config, subject: str) -> Path:
        return self.root(folder) / f"{subject}.parquet"

    def make(self, build: Build, row: ManifestRow, paths: Mapping[str, Path]) -> Made:
        omitted = left_out(self.release, row.volumes)
        read: dict[str, Source] = {}

        def look(column: str, see: See) -> None:
            volume = self.release.by_column[column]
            source = read_source(build.root, row, volume, see=see)
            if read.setdefault(column, source).sha256 != source.sha256:
                raise UnfitError.of(row, volume, "has changed while it was read", Materialize(TAKE_STOCK))

        scene = self._scene(row, omitted, look)
        sources = {v.column: read.get(v.column) or read_source(build.root, row, v) for v in self.sources}
        voxels = {column: source.voxels for column, source in sources.items() if source.voxels}
        decoded = Decoded(voxels, scene.slice if scene else None)
        facts = values(header_facts(self.release), row.volumes) | values(voxel_facts(self.release), decoded)
        drawings = draw(scene, self._backgrounds, omitted)
        pngs = {picture: drawings[picture.name].png for picture in PICTURES}
        pictures = {p.column: png and {"bytes": png, "path": p.filename(row.subject)} for p, png in pngs.items()}
        page = {_MONTAGE: montage(drawings, headline(row, facts, omitted))}
        record = {SUBJECT_COLUMN: row.subject, **facts, **pictures, **row.clinical, **page}
        table = pa.Table.from_pylist([record], self.configs[0].schema.append(pa.field(_MONTAGE, pa.binary())))
        with DigestingWriter(paths[self.name]) as file, io.BufferedWriter(file) as buffered:
            pq.write_table(table, buffered, **self._layout())
        size, sha256 = file.written.size, file.written.sha256
        return Made({self.name: BuiltFile(size, sha256, size)}, sources, facts)

    def _scene(self, row: ManifestRow, omitted: Mapping[str, str], read: Read) -> Scene | None:
        """What there is to draw; None if all volumes are left out, as they are without a grid to draw on."""
        if omitted.keys() >= {volume.column for volume in self.sources}:
            return None
        reference = row.entry(REFERENCE)
        assert reference.shape and reference.affine
        return read_scene(Axes.of(reference.shape, reference.affine), THICKNESS, read, omitted)

    def _layout(self) -> dict[str, Any]:
        """How pyarrow writes: pictures are compressed already, and statistics of them would hold whole ones."""
        statistics = [_leaf(field) for field in self.configs[0].schema]
        return {"compression": "none", "use_dictionary": False, "write_statistics": statistics}

    def mismatch(self, row: ManifestRow, sidecar: Sidecar) -> str:
        facts = values(header_facts(self.release), row.volumes)
        if any(sidecar.facts.get(column) != value for column, value in facts.items()):
            return "has a preview made before the CTP series changed"
        return ""

    @property
    def fact_meanings(self) -> Mapping[str, str]:
        return {fact.column: fact.description for fact in all_facts(self.release)}

    def montage(self, folder: DataFolder, sidecar: Sidecar) -> bytes:
        """All pictures of a subject on one page, as JPEG. Raises `Refusal` unless its preview is the recorded one."""
        content = pa.BufferReader(self._content(folder, sidecar))
        return bytes(pq.read_table(content, columns=[_MONTAGE]).column(_MONTAGE)[0].as_py())

    def write_table(
        self, path: Path, folder: DataFolder, sidecars: Mapping[str, Sidecar], schema: pa.Schema
    ) -> Identity:
        """Write the previews of the subjects in `sidecars` as one Parquet file, by id, whole or not at all.

        `schema` is that of the config, with what metadata the file shall have beside where it is from. Groups are of
        ten rows and there is an index of pages, so that a reader of a few rows reads little more. Memory is that of
        one group. The same previews give the same bytes.
        Returns what was written. Raises `Refusal` naming each subject whose preview is not the recorded one.
        """
        schema, subjects, missing = self._described(schema, sidecars), sorted(sidecars), list[Finding]()
        with written_whole(path) as temporary:
            with (
                DigestingWriter(temporary) as file,
                io.BufferedWriter(file) as buffered,
                pq.ParquetWriter(buffered, schema, write_page_index=True, **self._layout()) as writer,
            ):
                for first in range(0, len(subjects), _ROWS_IN_GROUP):
                    some = [sidecars[subject] for subject in subjects[first : first + _ROWS_IN_GROUP]]
                    rows = [row for sidecar in some if (row := self._row(folder, sidecar, schema, missing))]
                    if not missing:
                        writer.write_table(pa.concat_tables(rows).combine_chunks())
            if missing:
                raise Refusal("The table of previews was not written.", missing)
        return file.written

    def _described(self, schema: pa.Schema, sidecars: Mapping[str, Sidecar]) -> pa.Schema:
        """`schema` with where the table of these subjects is from."""
        synthetic = any(sidecar.synthetic for sidecar in sidecars.values())
        footer = {FOOTER_KEY: json.dumps(provenance(self.release, self.version, synthetic), sort_keys=True)}
        return schema.with_metadata({**(schema.metadata or {}), **footer})

    def _row(self, folder: DataFolder, sidecar: Sidecar, schema: pa.Schema, missing: list[Finding]) -> pa.Table | None:
        """A subject's row; None, and a finding more in `missing`, if there is none to be had."""
        try:
            content = self._content(folder, sidecar)
        except Refusal as refusal:
            missing += refusal.findings
            return None
        return pq.read_table(pa.BufferReader(content), columns=schema.names).select(schema.names).cast(schema)

    def _content(self, folder: DataFolder, sidecar: Sidecar) -> bytes:
        """The bytes of a subject's preview, read once: what is looked at is what was compared with the record."""
        (config,) = self.configs
        known, path = sidecar.files[config.name], self.path(folder, config, sidecar.subject)
        content = path.read_bytes() if path.exists() else b""
        if (len(content), hashlib.sha256(content).hexdigest()) != (known.size, known.sha256):
            raise Refusal("There is no picture to show.", [self._missing(sidecar.subject)])
        return content

    def _missing(self, subject: str) -> Finding:
        return Finding("has no preview that is complete", Materialize((self.asset,), subject), subject=subject)

    def files(
        self, folder: DataFolder, sidecars: Mapping[str, Sidecar], schemas: Mapping[str, pa.Schema]
    ) -> list[PublicationFile]:
        """The table of all previews, made anew unless it is there as it was written, and a picture."""
        (config,) = self.configs
        table = self._table(folder, sidecars, schemas[config.name])
        _, typical = median_high((sidecar.facts["lesion_ml"] or 0, subject) for subject, sidecar in sidecars.items())
        return [table, PublicationFile.of_bytes(CARD_PICTURE, self.montage(folder, sidecars[typical]))]

    def _table(self, folder: DataFolder, sidecars: Mapping[str, Sidecar], schema: pa.Schema) -> PublicationFile:
        """The table of all previews, whose name is a digest of all that it is made from; others are removed.

        Beside it is noted what was written. It is made again if that is not what is there now.
        """
        (config,) = self.configs
        digests = {subject: sidecar.files[config.name].sha256 for subject, sidecar in sidecars.items()}
        of_rows = json.dumps([self.release.name, digests], sort_keys=True).encode()
        name = hashlib.sha256(self._described(schema, sidecars).serialize().to_pybytes() + of_rows).hexdigest()
        path, note = (self.root(folder) / "table" / f"{name}.{ending}" for ending in ("parquet", "json"))
        noted = status_of(path) if path.exists() else None  # before it is read, so that a change meanwhile shows
        there = identity_of(path) if noted else None
        if there is None or not note.exists() or note.read_bytes() != there.note:
            for older in {*path.parent.glob("[!.]*")} - {path, note}:
                older.unlink(missing_ok=True)
            written = self.write_table(path, folder, sidecars, schema)
            noted, there = status_of(path), identity_of(path)
            if there != written:
                mend = "see whether the disk is sound; then run again"
                raise Refusal.of("Not published.", "is not what was written to it", mend, path=path)
            with written_whole(note) as temporary:
                temporary.write_bytes(written.note)
        size, rows = there.size, len(sidecars)
        return PublicationFile(config.path(""), path, size, there.sha256, config.name, rows, size, noted)

    def describe(self, folder: DataFolder, row: ManifestRow, sidecar: Sidecar) -> dict[str, Any]:
        page = base64.b64encode(small(self.montage(folder, sidecar))).decode()
        facts = [(fact.column, sidecar.facts[fact.column]) for fact in all_facts(self.release)]
        return {
            **shown_size(sidecar.size),
            "pictures": Markdown(f"![{row.subject}](data:image/webp;base64,{page})"),
            "facts": Markdown(markdown_table(("fact", "value"), facts)),
            "file": self.path(folder, self.configs[0], row.subject),
            "synthetic": sidecar.synthetic,
        }

    def card_parts(self, repo: str, sidecars: Mapping[str, Sidecar]) -> CardParts:
        facts = all_facts(self.release)
        pictures = markdown_table(("column", "picture"), [(f"`{p.column}`", p.description) for p in PICTURES])
        columns = markdown_table(("column", "type", "fact"), [(f"`{f.column}`", f.type, f.description) for f in facts])
        return CardParts(
            picture=f"![Pictures of one subject]({CARD_PICTURE})",
            example=f"""Only the clinical variables and what is known of the volumes, as a table, without any volume:

```python
table = load_dataset("{repo}", "{self.name}", split="train").remove_columns([
    {", ".join(f'"{picture.column}"' for picture in PICTURES)}
]).to_pandas()
```""",
            counts=self._counts({subject: sidecar.facts for subject, sidecar in sorted(sidecars.items())}),
            section=f"""## Previews

The config `{self.name}` is for looking and for tables: pictures are made for people, not for training.

{pictures}

{columns}""",
        )

    def _counts(self, facts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        """What was found while previews were made: lesions, empty masks, oblique axes, voxels that are no numbers."""
        ml = sorted(known["lesion_ml"] for known in facts.values() if known["lesion_ml"] is not None)
        least_to_greatest = f"{median(ml):.1f} ({ml[0]:.1f} to {ml[-1]:.1f})" if ml else "unknown"
        omitted = [f"{s} ({', '.join(known['left_out'])})" for s, known in facts.items() if known["left_out"]]
        rows = [
            ("final infarct, mL: median (least to greatest)", least_to_greatest),
            ("`lesion_mask` is empty", _named(s for s, known in facts.items() if not known["lesion_voxels"])),
            ("`lvo_mask` is empty", _named(s for s, known in facts.items() if known["lvo_empty"])),
            ("`cow_mask` is empty", _named(s for s, known in facts.items() if known["cow_empty"])),
            ("`ncct` is oblique about more than one axis", _named(s for s, known in facts.items() if known["oblique"])),
            ("volumes that the pictures do without", _named(omitted)),
        ]
        for volume in self.release.volumes:
            column = f"{volume.column}_non_finite"
            if affected := [s for s, known in facts.items() if known.get(column)]:
                rows.append((f"`{volume.column}` holds NaN or infinite voxels", _named(affected)))
        return rows


def headline(row: ManifestRow, facts: Mapping[str, Any], omitted: Mapping[str, str]) -> str:
    """The facts that one wants beside the pictures, in one line, and what is `omitted` from them and has none."""

    def by(values: Iterable[float]) -> str:
        return " x ".join(f"{value:.3g}" for value in values)

    spacing = f"{by(facts['ncct_spacing_mm'])} mm" if facts["ncct_spacing_mm"] else "spacing unknown"
    volume = f"{facts['lesion_voxels']} voxels" if facts["lesion_ml"] is None else f"{facts['lesion_ml']:.4g} ml"
    lesion = f"lesion {volume}" if facts["lesion_voxels"] else "no lesion marked"
    labels = "many" if facts["cow_labels"] is None else len(facts["cow_labels"])
    parts = [
        f"{'SYNTHETIC ' if row.synthetic else ''}{row.subject}",
        lesion if facts["shown_slice"] is None else f"{lesion}, slice {facts['shown_slice']}",
        f"NCCT {by(facts['ncct_shape'])}, {spacing}",
        f"CTP {facts['ctp_frames']} frames" if facts["ctp_frames"] else "CTP unknown",
        f"LVO {facts['lvo_voxels']} voxels" if facts["lvo_voxels"] else "no LVO marked",
        f"CoW {labels} labels" if facts["cow_voxels"] else "no CoW marked",
    ]
    unseen: dict[str, list[str]] = {}
    for column, reason in omitted.items():
        if column not in THICKNESS:  # others say it in their picture's place
            unseen.setdefault(reason, []).append(_SHORT.get(column, column))
    parts += [f"{', '.join(names)} {reason}" for reason, names in unseen.items()]
    return "  |  ".join(parts)


def _leaf(field: pa.Field) -> str:
    if field.type == MEDIA:
        return f"{field.name}.path"
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def _named(subjects: Iterable[str]) -> str:
    """How many, and which."""
    names = list(subjects)
    return f"{len(names)}: {name_some(names, 20)}" if names else "none"
