"""Where a published Parquet file is from: what its footer says under the key `isles_assets`, as JSON."""

from typing import Any

from isles_assets.release.release import Release

FOOTER_KEY = "isles_assets"


def provenance(release: Release, version: str, synthetic: bool) -> dict[str, Any]:
    """The `version` of the product, the release, and whether the sample generator made the volumes."""
    known = {"version": release.version, "doi": release.record.doi}
    return {"format": version, "release": known, "synthetic": synthetic}
