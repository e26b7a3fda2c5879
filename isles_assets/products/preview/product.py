"""A subject's preview, pictures of one slice beside facts, in a small Parquet file; and the published table of all.

Each volume is verified while it is read, and nothing is drawn before all are. A volume that is merely odd is left out
of the pictures: every subject must have a preview, or nothing could be published.
"""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import median_high
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.display import Markdown, display_size
from isles_assets.lib.findings import Finding, Materialize, Refusal
from isles_assets.lib.markdown import markdown_table
from isles_assets.products.column import Column
from isles_assets.products.config import LOOK, LOOK_PATH, MAIN_CONFIG, MEDIA, SPLIT, Config
from isles_assets.products.footer import FOOTER_KEY, provenance
from isles_assets.products.preview import card
from isles_assets.products.preview.digesting import DigestingWriter, FileDigest
from isles_assets.products.preview.facts import Decoded, Fact, all_facts, header_facts, values, voxel_facts
from isles_assets.products.preview.folds import FOLD, centre_of, fold_column, folds
from isles_assets.products.preview.left_out import left_out, preview_volumes
from isles_assets.products.preview.montage import montage, small_montage
from isles_assets.products.preview.pictures import PICTURES, THICKNESS, Picture, draw
from isles_assets.products.preview.rows import BUILT_MONTAGE, look_row, preview_row
from isles_assets.products.preview.scene import LESION, REFERENCE, Axes, ReadVolume, Scene, read_scene
from isles_assets.products.preview.tables import TABLES_VERSION, KeptFile, kept_file, layout, write_rows
from isles_assets.products.product import Build, BuildResult, CardParts, Product, PublicationFile
from isles_assets.products.sidecar import BuiltFile, Sidecar
from isles_assets.products.sources import Source, UnfitError, read_source
from isles_assets.reading.nifti import VoxelSink
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables import TREE_ASSETS
from isles_assets.tables.clinical import clinical_fields
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN

CARD_PICTURE = "preview/overview.jpg"

_NEEDED = {REFERENCE, LESION, "ctp", "lvo_mask", "cow_mask", *THICKNESS}
_SHORT = {LESION: "lesion", "lvo_mask": "LVO", "cow_mask": "CoW"}


class Preview(Product):
    """The product whose files are pictures and facts of a subject."""

    name = "preview"
    plural = "previews"
    code_version = 3
    kinds = frozenset({"image", "parquet"})
    description = """Small pictures and facts of a subject, for a look before publishing and for the Hub's viewer.

    A subject that cannot be drawn does not stop the others."""
    failure_text = "has no preview"
    published_as_built = False
    has_montages = True

    @classmethod
    def fits(cls, release: Release) -> bool:
        return release.by_column.keys() >= _NEEDED

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        description = "small pictures, facts about the volumes and the clinical variables, for viewing and for tables"
        pictures = [pa.field(picture.column, MEDIA) for picture in PICTURES]
        facts = [pa.field(fact.column, fact.type) for fact in all_facts(self.release)]
        subject = pa.field(SUBJECT_COLUMN, pa.string())
        schema = pa.schema([subject, *facts, *pictures, *clinical_fields(self.release)])
        return (Config(self.name, self.name, description, schema, joined=True, added=(FOLD,)),)

    @cached_property
    def sources(self) -> tuple[Volume, ...]:
        return preview_volumes(self.release)

    @property
    def own_columns(self) -> Sequence[Column]:
        facts = map(_fact_column, all_facts(self.release))
        return (*facts, *map(_picture_column, PICTURES), fold_column(self.release))

    @property
    def other_files(self) -> tuple[str, ...]:
        return (CARD_PICTURE,)

    @property
    def derives_from(self) -> Sequence[Any]:
        pictures = [
            (p.name, p.title, p.volume, str(p.shading), p.slab_mm, p.in_colours, p.outlined) for p in PICTURES
        ]  # without `contents`, which no byte of a picture follows from
        return [*pictures, self._backgrounds]

    @property
    def _backgrounds(self) -> dict[str, float]:
        return {volume.column: volume.background for volume in self.sources if volume.background}

    def path(self, folder: DataFolder, config: Config, subject: str) -> Path:
        return self.root(folder) / f"{subject}.parquet"

    def make(self, build: Build, row: ManifestRow, paths: Mapping[str, Path]) -> BuildResult:
        omitted = left_out(self.release, row.volumes)
        drawn: dict[str, Source] = {}

        def read(column: str, see: VoxelSink) -> None:
            volume = self.release.by_column[column]
            source = read_source(build.root, row, volume, see=see)
            if drawn.setdefault(column, source).sha256 != source.sha256:
                raise UnfitError.of(row, volume, "has changed while it was read", Materialize(TREE_ASSETS))

        scene = self._scene(row, omitted, read)
        sources = {v.column: drawn.get(v.column) or read_source(build.root, row, v) for v in self.sources}
        voxels = {column: source.voxels for column, source in sources.items() if source.voxels}
        decoded = Decoded(voxels, scene.slice if scene else None)
        facts = values(header_facts(self.release), row.volumes) | values(voxel_facts(self.release), decoded)
        drawings = draw(scene, self._backgrounds, omitted)
        pngs = {picture: drawings[picture.name].png for picture in PICTURES}
        pictures = {p.column: png and {"bytes": png, "path": p.filename(row.subject)} for p, png in pngs.items()}
        page = {BUILT_MONTAGE.name: montage(drawings, headline(row, facts, omitted))}
        record = {SUBJECT_COLUMN: row.subject, **facts, **pictures, **row.clinical, **page}
        table = pa.Table.from_pylist([record], self.configs[0].schema.append(BUILT_MONTAGE))
        with DigestingWriter(paths[self.name]) as file, io.BufferedWriter(file) as buffered:
            pq.write_table(table, buffered, **layout(self.configs[0].schema))
        size, sha256 = file.written.size, file.written.sha256
        return BuildResult({self.name: BuiltFile(size, sha256, size)}, sources, facts)

    def _scene(self, row: ManifestRow, omitted: Mapping[str, str], read: ReadVolume) -> Scene | None:
        """Return the slice to draw; None if all volumes are left out, as they are without a usable grid."""
        if omitted.keys() >= {volume.column for volume in self.sources}:
            return None
        reference = row.entry(REFERENCE)
        assert reference.shape and reference.affine
        return read_scene(Axes.of(reference.shape, reference.affine), THICKNESS, read, omitted)

    def mismatch(self, row: ManifestRow, sidecar: Sidecar) -> str:
        facts = values(header_facts(self.release), row.volumes)
        if any(sidecar.facts.get(column) != value for column, value in facts.items()):
            return "has a preview made before the CTP series changed"
        return ""

    @property
    def fact_descriptions(self) -> Mapping[str, str]:
        return {fact.column: fact.description for fact in all_facts(self.release)}

    def montage(self, folder: DataFolder, sidecar: Sidecar) -> bytes:
        content = pa.BufferReader(self._content(folder, sidecar))
        return bytes(pq.read_table(content, columns=[BUILT_MONTAGE.name])[0][0].as_py())

    def _with_provenance(self, schema: pa.Schema, sidecars: Mapping[str, Sidecar]) -> pa.Schema:
        """Return `schema` with the provenance of a table of these subjects."""
        synthetic = any(sidecar.synthetic for sidecar in sidecars.values())
        footer = {FOOTER_KEY: json.dumps(provenance(self.release, self.version, synthetic), sort_keys=True)}
        return schema.with_metadata({**(schema.metadata or {}), **footer})

    def _content(self, folder: DataFolder, sidecar: Sidecar) -> bytes:
        """Return the bytes of a subject's preview. Raise `Refusal` unless they are the recorded ones."""
        (config,) = self.configs
        recorded, path = sidecar.files[config.name], self.path(folder, config, sidecar.subject)
        content = path.read_bytes() if path.exists() else b""
        if (len(content), hashlib.sha256(content).hexdigest()) != (recorded.size, recorded.sha256):
            mend = Materialize((self.asset,), sidecar.subject)
            problem = "has no preview that is complete"
            raise Refusal.of("There is no picture to show.", problem, mend, subject=sidecar.subject)
        return content

    def files(
        self, folder: DataFolder, sidecars: Mapping[str, Sidecar], schemas: Mapping[str, pa.Schema]
    ) -> list[PublicationFile]:
        """Return the table of all previews, the one of `look`, and the card's picture.

        The tables are written again if they have changed.
        """
        previews = self.table(folder, sidecars, schemas[self.name])
        look = self.look_table(folder, sidecars, schemas[MAIN_CONFIG])
        _, typical = median_high((sidecar.facts["lesion_ml"] or 0, subject) for subject, sidecar in sidecars.items())
        return [previews, look, PublicationFile.of_bytes(CARD_PICTURE, self.montage(folder, sidecars[typical]))]

    def table(self, folder: DataFolder, sidecars: Mapping[str, Sidecar], schema: pa.Schema) -> PublicationFile:
        """Return the file with all previews and their folds. It is written again if its inputs have changed.

        Args:
            sidecars: Sidecars by subject.
            schema: Annotated schema of the config.

        Raises:
            Refusal: Previews are missing or damaged, all of which it names; or the disk is full.
        """
        (config,) = self.configs

        def write(path: Path, schema: pa.Schema) -> FileDigest:
            fold_of = folds(self.release, sidecars, self._centres(folder, sidecars))
            rows = (
                preview_row(self._content(folder, sidecar), fold_of[subject], schema)
                for subject, sidecar in sorted(sidecars.items())
            )
            return write_rows(path, schema, rows)

        kept = self._kept("table", folder, sidecars, schema, write)
        return kept.published(config.path(""), self.name, SPLIT, len(sidecars))

    def look_table(self, folder: DataFolder, sidecars: Mapping[str, Sidecar], schema: pa.Schema) -> PublicationFile:
        """Return the file of the split `look`. It is written again if its inputs have changed.

        Args:
            sidecars: Sidecars by subject.
            schema: Annotated schema of the config `default`.

        Raises:
            Refusal: Previews are missing or damaged; or the disk is full.
        """

        def write(path: Path, schema: pa.Schema) -> FileDigest:
            rows = (look_row(self._content(folder, sidecar), schema) for _, sidecar in sorted(sidecars.items()))
            return write_rows(path, schema, rows)

        return self._kept("look", folder, sidecars, schema, write).published(
            LOOK_PATH, MAIN_CONFIG, LOOK, len(sidecars)
        )

    def _kept(
        self,
        name: str,
        folder: DataFolder,
        sidecars: Mapping[str, Sidecar],
        schema: pa.Schema,
        write: Callable[[Path, pa.Schema], FileDigest],
    ) -> KeptFile:
        """Return the file in the folder `name` that `write` makes of the previews of these subjects."""
        (config,) = self.configs
        schema = self._with_provenance(schema, sidecars)
        digests = {subject: sidecar.files[config.name].sha256 for subject, sidecar in sidecars.items()}
        others = [TABLES_VERSION, self.release.name, self.release.is_part, digests]
        inputs = schema.serialize().to_pybytes() + json.dumps(others, sort_keys=True).encode()
        return kept_file(self.root(folder) / name, inputs, lambda path: write(path, schema))

    def _centres(self, folder: DataFolder, sidecars: Mapping[str, Sidecar]) -> dict[str, str]:
        """Return the centre of each subject as text. Raises `Refusal` for all damaged previews at once."""
        centres, missing = {}, list[Finding]()
        for subject, sidecar in sidecars.items():
            try:
                content = pa.BufferReader(self._content(folder, sidecar))
            except Refusal as refusal:
                missing += refusal.findings
            else:
                columns = [self.release.centre] if self.release.centre else []
                (row,) = pq.read_table(content, columns=[SUBJECT_COLUMN, *columns]).to_pylist()
                centres[subject] = centre_of(self.release, row)
        if missing:
            raise Refusal("The table of previews was not written.", missing)
        return centres

    def describe(self, folder: DataFolder, row: ManifestRow, sidecar: Sidecar) -> dict[str, Any]:
        page = base64.b64encode(small_montage(self.montage(folder, sidecar))).decode()
        facts = [(fact.column, sidecar.facts[fact.column]) for fact in all_facts(self.release)]
        return {
            **display_size(sidecar.size),
            "pictures": Markdown(f"![{row.subject}](data:image/webp;base64,{page})"),
            "facts": Markdown(markdown_table(("fact", "value"), facts)),
            "file": self.path(folder, self.configs[0], row.subject),
            "synthetic": sidecar.synthetic,
        }

    def card_parts(self, repo: str, sidecars: Mapping[str, Sidecar], rows: Mapping[str, ManifestRow]) -> CardParts:
        return card.card_parts(self.release, self.name, repo, CARD_PICTURE, sidecars, rows)

    def summary(self, sidecars: Mapping[str, Sidecar]) -> Sequence[tuple[str, str]]:
        return card.summary(sidecars)


def headline(row: ManifestRow, facts: Mapping[str, Any], omitted: Mapping[str, str]) -> str:
    """Return one line for the montage: the main facts, and the `omitted` volumes that have no picture of their own."""

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
        if column not in THICKNESS:  # a volume with a picture has the reason in its tile
            unseen.setdefault(reason, []).append(_SHORT.get(column, column))
    parts += [f"{', '.join(names)} {reason}" for reason, names in unseen.items()]
    return "  |  ".join(parts)


def _fact_column(fact: Fact[Any]) -> Column:
    def is_null(row: ManifestRow, sidecar: Sidecar) -> bool:
        return sidecar.facts[fact.column] is None

    return Column(fact.column, fact.description, fact.known, unit=fact.unit, is_null=is_null)


def _picture_column(picture: Picture) -> Column:
    def is_null(row: ManifestRow, sidecar: Sidecar) -> bool:
        return picture.volume in sidecar.facts["left_out"]

    return Column(picture.column, picture.description, picture.known, is_null=is_null)
