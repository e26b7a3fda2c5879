"""Folds for cross-validation: a suggestion of this project, which the release does not have."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from isles_assets.products.column import Column
from isles_assets.products.sidecar import Sidecar
from isles_assets.release.release import Release

FOLDS = 5
FOLD = pa.field("fold", pa.int8())
"""Null where only a part of the release is published, whose folds would not be those of the whole."""
_UNKNOWN_CENTRE = "unknown"


def centre_of(release: Release, clinical: Mapping[str, Any]) -> str:
    """Return the centre of a subject as text, from its clinical values; `unknown` without one."""
    centre = clinical.get(release.centre)
    return _UNKNOWN_CENTRE if centre is None else str(centre)


def fold_column(release: Release) -> Column:
    """Return the column of the fold."""
    description = f"Fold for cross-validation, 0 to {FOLDS - 1}: a suggestion, not of the release"
    return Column(
        FOLD.name, description, None, levels=tuple(range(FOLDS)), is_null=lambda row, sidecar: release.is_part
    )


def folds(release: Release, sidecars: Mapping[str, Sidecar], centres: Mapping[str, str]) -> dict[str, int | None]:
    """Return the fold of each subject, from 0; None for all of a part of the release.

    Subjects are ordered by centre, lesion volume and id, and dealt out in turn. So the folds of a centre differ by one
    subject at most, and each has small and large lesions.

    Args:
        sidecars: Sidecars of previews by subject, whose facts have the lesion's volume. An unknown one counts as 0 ml.
        centres: Centres by subject.
    """
    if release.is_part:
        return dict.fromkeys(sidecars)

    def place(subject: str) -> tuple[str, float, str]:
        return centres[subject], sidecars[subject].facts["lesion_ml"] or 0, subject

    return {subject: number % FOLDS for number, subject in enumerate(sorted(sidecars, key=place))}
