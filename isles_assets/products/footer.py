"""Where a published Parquet file is from: what its footer says under the key `isles_assets`, as JSON."""

from typing import Any

from isles_assets.release.record import RELEASE

FOOTER_KEY = "isles_assets"


def provenance(version: int, synthetic: bool) -> dict[str, Any]:
    """The writer's format `version`, the release, and whether the sample generator made the volumes."""
    return {
        "format": version,
        "release": {"version": RELEASE.version, "doi": RELEASE.doi},
        "synthetic": synthetic,
    }
