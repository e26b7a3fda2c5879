"""A subject's shards: one Parquet file per config, which holds the release's files byte for byte.

Each source is read once. Buffer by buffer it is digested, decoded, written, and digested again as part of the shard.
`hub` reads published shards back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from isles_assets.lib.display import Markdown, display_size
from isles_assets.lib.files import sync
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.markdown import markdown_table
from isles_assets.lib.parquet import LARGEST_VALUE, ReadBack, Sink, Streamed, Written, read_back, write_row
from isles_assets.products.column import Column, volume_column
from isles_assets.products.config import MAIN_CONFIG, MEDIA, Config
from isles_assets.products.footer import FOOTER_KEY, provenance
from isles_assets.products.product import Build, BuildResult, Product
from isles_assets.products.shard.footer import PackedSource
from isles_assets.products.sidecar import BuiltFile, Sidecar
from isles_assets.products.sources import Source, UnfitError, Voxels, check_entry, clinical_digest, read_source
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables.clinical import clinical_fields
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN


def shard_configs(release: Release) -> tuple[Config, ...]:
    """Return `default`, with most volumes and the clinical variables, and a config for each volume published apart."""
    together = tuple(volume.column for volume in release.volumes if not volume.apart)
    description = f"{len(together)} volumes and the clinical variables"
    schema = _schema(together, clinical_fields(release))
    return (
        Config(MAIN_CONFIG, "data", description, schema, together),
        *(Config(v.column, v.column, v.apart, _schema((v.column,)), (v.column,)) for v in release.volumes if v.apart),
    )


def _schema(volumes: tuple[str, ...], others: list[pa.Field] | None = None) -> pa.Schema:
    fields = [pa.field(column, MEDIA) for column in volumes]
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *fields, *(others or [])])


class Shard(Product):
    """The product whose files are a subject's row as Parquet."""

    name = "shard"
    plural = "shards"
    code_version = 5
    kinds = frozenset({"parquet"})
    description = """A subject's row as Parquet, a file per config: the release's bytes, each volume read and verified.

    A subject that cannot be packed does not stop the others."""
    failure_text = "was not packed"
    may_skip_decoding = True

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        return shard_configs(self.release)

    @cached_property
    def sources(self) -> tuple[Volume, ...]:
        return self.release.volumes

    @property
    def own_columns(self) -> Sequence[Column]:
        return [volume_column(self.release, volume) for volume in self.release.volumes]

    def check(self, build: Build, row: ManifestRow, volume: Volume) -> None:
        check_entry(build.root, row, volume)
        if row.entry(volume.column).size > LARGEST_VALUE:
            raise UnfitError.of(row, volume, f"is larger than the {LARGEST_VALUE} bytes that a Parquet value may have")

    def make(self, build: Build, row: ManifestRow, paths: Mapping[str, Path]) -> BuildResult:
        sources: dict[str, Source] = {}
        files = {config.name: self._write(build, row, config, paths[config.name], sources) for config in self.configs}
        return BuildResult(files, sources)

    def _write(
        self, build: Build, row: ManifestRow, config: Config, path: Path, sources: dict[str, Source]
    ) -> BuiltFile:
        values = {
            SUBJECT_COLUMN: row.subject,
            **{column: _value(build, row, self.release.by_column[column], sources) for column in config.volumes},
            **{column: value for column, value in row.clinical.items() if column in config.schema.names},
        }

        def footer() -> dict[str, str]:
            content = self._footer(config, sources, clinical_digest(row), row.synthetic)
            return {FOOTER_KEY: json.dumps(content, sort_keys=True)}

        with path.open("wb") as file:
            created_by = f"isles-assets version {self.code_version}"
            written = write_row(file, build.schemas[config.name], values, footer, created_by=created_by)
            sync(file)
        packed = {column: sources[column] for column in config.volumes}
        back = _read_back(path, written, packed)
        return BuiltFile(back.size, back.sha256, sum(source.size for source in packed.values()))

    def _footer(self, config: Config, sources: Mapping[str, Source], clinical: str, synthetic: bool) -> dict[str, Any]:
        """Return everything that the file is built from. Files with the same footer have the same bytes."""
        packed = [(column, sources[column]) for column in config.volumes]
        return provenance(self.release, self.version, synthetic) | {
            "clinical": clinical if config.name == MAIN_CONFIG else None,
            "sources": {column: asdict(PackedSource(s.path, s.size, s.sha256, s.crc32)) for column, s in packed},
        }

    def bytes_needed(self, row: ManifestRow) -> int:
        return sum(entry.size for entry in row.volumes.values() if entry)

    def describe(self, folder: DataFolder, row: ManifestRow, sidecar: Sidecar) -> dict[str, Any]:
        reference = row.entry(self.release.reference.column)
        assert reference.shape
        lines = [
            (column, s.size, s.voxels.non_finite if s.voxels else "not decoded", f"`{s.sha256}`")
            for column, s in sidecar.sources.items()
        ]
        shape, spacing = "x".join(map(str, reference.shape)), "x".join(f"{mm:g}" for mm in reference.spacing or ())
        voxels = {column: source.voxels for column, source in sidecar.sources.items() if source.voxels}
        return {
            **display_size(sidecar.size),
            **{f"file {config.name}": self.path(folder, config, row.subject) for config in self.configs},
            "synthetic": sidecar.synthetic,
            f"{self.release.reference.column} grid": f"{shape} voxels of {spacing or 'unknown'} mm",
            "decode check": "passed" if sidecar.decoded else "not done",
            **self._shown_voxels(voxels),
            "sources": Markdown(markdown_table(("column", "bytes", "non-finite voxels", "sha256"), lines)),
        }

    def _shown_voxels(self, voxels: Mapping[str, Voxels]) -> dict[str, Any]:
        masks = {
            column.removesuffix("_mask"): counts  # as in the names of the preview's facts
            for column, counts in voxels.items()
            if self.release.by_column[column].content.is_mask
        }
        return {
            **{f"{name}_voxels": mask.marked for name, mask in masks.items()},
            **{f"{name}_ml": mask.marked_ml for name, mask in masks.items() if mask.marked_ml is not None},
            **{f"{name}_labels": ", ".join(map(str, mask.labels)) or "none" for name, mask in masks.items()},
            "non-finite voxels": sum(counts.non_finite for counts in voxels.values()),
        }


def _value(build: Build, row: ManifestRow, volume: Volume, sources: dict[str, Source]) -> dict[str, Any]:
    """Return the struct of a volume column. The source is added to `sources` while its bytes are written."""
    entry = row.entry(volume.column)

    def write_to(sink: Sink) -> None:
        sources[volume.column] = read_source(build.root, row, volume, decode=build.decode, sink=sink)

    return {"bytes": Streamed(entry.size, write_to), "path": Path(entry.path).name}


def _read_back(path: Path, written: Written, sources: Mapping[str, Source]) -> ReadBack:
    """Read a finished file back from the disk. Raise `Refusal` unless it holds what was `written`, and `sources`."""
    mend, headline = "run again; if it recurs, check the disk", "The shard does not hold the bytes of its sources."
    try:
        back = read_back(path, {f"{column}.bytes": source.size for column, source in sources.items()})
    except ValueError as error:
        raise Refusal.of(headline, f"is not what was written to it: {error}", mend, path=path) from error
    findings = [
        Finding(f"changed on its way into `{column}`", mend, path=source.path)
        for column, source in sources.items()
        if back.values[f"{column}.bytes"] != source.crc32
    ]
    if not findings and (back.size, back.crc32) != (written.size, written.crc32):
        findings = [Finding("is not what was written to it", mend, path=str(path))]
    if findings:
        raise Refusal(headline, findings)
    return back
