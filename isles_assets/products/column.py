"""The columns of a config, described for readers of the dataset: meaning, unit, grid, and whether they are outcomes.

The description of a volume or variable is in the release, that of a fact or picture in its product. They are brought
together here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isles_assets.products.config import LOOK, MONTAGE, SPLIT
from isles_assets.products.sidecar import Sidecar
from isles_assets.release.clinical import Known, Variable
from isles_assets.release.release import Release
from isles_assets.release.volumes import Grid, Volume
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN

IsNull = Callable[[ManifestRow, Sidecar], bool]
"""Whether a column is null for a subject, by its row of the manifest and the sidecar of its product."""


def _never(row: ManifestRow, sidecar: Sidecar) -> bool:
    return False


@dataclass(frozen=True)
class Column:
    """One column of a config."""

    name: str
    description: str
    known: Known | None
    """None of a column that is neither input nor outcome, such as the subject's id."""
    unit: str = ""
    grid: str = ""
    """Grid of a volume; empty of other columns."""
    levels: tuple[str | int, ...] = ()
    """Values that are expected; empty if there is no list of them."""
    low: float | None = None
    """Least and greatest value that are expected; None if there are no such limits."""
    high: float | None = None
    is_null: IsNull | None = _never
    """None if nobody says."""

    def nulls(self, manifest: Mapping[str, ManifestRow], sidecars: Mapping[str, Sidecar]) -> int | None:
        """Return for how many subjects of `sidecars` it is null; None if nobody says."""
        if self.is_null is None:
            return None
        return sum(self.is_null(manifest[subject], sidecar) for subject, sidecar in sidecars.items())


def undescribed_column(name: str) -> Column:
    """Return a column of which nothing is known. Tests allow none in a registered product."""
    return Column(name, "", None, is_null=None)


def subject_column() -> Column:
    """Return the column of the subject's id."""
    return Column(SUBJECT_COLUMN, "The subject's id in the release", None)


def montage_column() -> Column:
    """Return the column of `look` with a page of pictures. The lesion decides which slice they show."""
    description = f"Page of pictures of the subject, only in the split `{LOOK}`; null in `{SPLIT}`"
    return Column(MONTAGE.name, description, Known.OUTCOME, is_null=lambda row, sidecar: True)


def volume_column(release: Release, volume: Volume) -> Column:
    """Return the column of a volume."""
    return Column(
        volume.column,
        volume.description,
        release.known(volume),
        grid=grid_of(release, volume),
        levels=(0, *volume.expected_labels) if volume.expected_labels else (),
        is_null=lambda row, sidecar: volume.column not in sidecar.sources,
    )


def grid_of(release: Release, volume: Volume) -> str:
    """Return the name of the volume's grid, for people."""
    return release.common_grid if volume.grid is Grid.COMMON else volume.grid.value


def variable_column(variable: Variable) -> Column:
    """Return the column of a clinical variable."""
    return Column(
        variable.column,
        variable.description,
        variable.known,
        unit=variable.column_unit,
        levels=variable.levels,
        low=variable.low,
        high=variable.high,
        is_null=lambda row, sidecar: row.clinical[variable.column] is None,
    )
