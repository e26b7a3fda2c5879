"""`metadata/columns.csv`: every column of every config, with what a reader has to know before using it."""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from isles_assets.lib.csv_text import Cell, csv_text
from isles_assets.products.column import montage_column, undescribed_column
from isles_assets.products.config import MEDIA, MONTAGE, Config
from isles_assets.products.dataset import Dataset
from isles_assets.publication.publication import Made
from isles_assets.tables.manifest import ManifestRow

HEADER = ("config", "column", "type", "unit", "grid", "known", "description", "missing", "levels", "low", "high")


def columns_csv(dataset: Dataset, made: Made, manifest: Mapping[str, ManifestRow]) -> str:
    """Return a line for each column of each config, in the order of the columns.

    `known` is empty of a column that is neither input nor outcome. `missing` counts nulls of the published subjects.
    Levels are joined by `|`.

    Args:
        manifest: Rows of the published subjects, by subject.
    """
    return csv_text([HEADER, *_rows(dataset, made, manifest)])


def _rows(dataset: Dataset, made: Made, manifest: Mapping[str, ManifestRow]) -> Iterator[tuple[Cell, ...]]:
    for product in dataset.products:
        columns, sidecars = product.columns | {MONTAGE.name: montage_column()}, made.get(product.name, {})
        for config in dataset.configs_of(product):
            for field in config.columns:
                column = columns.get(field.name) or undescribed_column(field.name)
                yield (
                    config.name,
                    column.name,
                    type_name(config, field),
                    column.unit,
                    column.grid,
                    column.known.value if column.known else "",
                    column.description,
                    column.nulls(manifest, sidecars),
                    "|".join(map(str, column.levels)),
                    *(None if limit is None else f"{limit:g}" for limit in (column.low, column.high)),
                )


def type_name(config: Config, field: pa.Field) -> str:
    """Return the type of a column: `Nifti`, `Image`, or a plain one such as `int16`, `float64` or `list<int32>`."""
    if field.type == MEDIA:
        return "Nifti" if field.name in config.volumes else "Image"
    return _plain_name(field.type)


def _plain_name(arrow: pa.DataType) -> str:
    if pa.types.is_list(arrow):
        return f"list<{_plain_name(arrow.value_type)}>"
    return "float64" if arrow == pa.float64() else str(arrow)
