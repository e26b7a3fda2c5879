"""A product that the package does not have. Light to import, as each process that makes it does."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.files import sha256_of
from isles_assets.products.config import Config
from isles_assets.products.product import Build, BuildResult, Product
from isles_assets.products.sidecar import BuiltFile, Sidecar
from isles_assets.products.sources import read_source
from isles_assets.release.volumes import Volume
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN

BINS = 8


class Histogram(Product):
    """How often the reference volume holds which values, as one small array a subject."""

    name = "histogram"
    plural = "histograms"
    code_version = 1
    kinds = frozenset({"parquet"})
    description = "A histogram of the reference volume."
    failure_text = "has no histogram"

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        counts = pa.field("counts", pa.list_(pa.int64()))
        schema = pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), counts])
        return (Config(self.name, self.name, f"{BINS} counts of voxels", schema),)

    @cached_property
    def sources(self) -> tuple[Volume, ...]:
        return (self.release.reference,)

    @property
    def derives_from(self) -> list[int]:
        return [BINS]

    def make(self, build: Build, row: ManifestRow, paths: Mapping[str, Path]) -> BuildResult:
        counts = np.zeros(BINS, np.int64)

        def see(header: Any, start: int, voxels: Any) -> None:
            counts[:] += np.histogram(voxels, BINS, (0, 1000))[0]

        volume, path = self.release.reference, paths[self.name]
        source = read_source(build.root, row, volume, see=see)
        values = [{SUBJECT_COLUMN: row.subject, "counts": counts.tolist()}]
        pq.write_table(pa.Table.from_pylist(values, build.schemas[self.name]), path)
        size = path.stat().st_size
        return BuildResult({self.name: BuiltFile(size, sha256_of(path), size)}, {volume.column: source})

    def describe(self, folder: DataFolder, row: ManifestRow, sidecar: Sidecar) -> dict[str, Any]:
        return {"file": self.path(folder, self.configs[0], row.subject)}
