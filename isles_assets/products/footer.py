"""The provenance of a published Parquet file: JSON in its footer, under the key `isles_assets`."""

from typing import Any

from isles_assets.release.release import Release

FOOTER_KEY = "isles_assets"


def provenance(release: Release, version: str, synthetic: bool) -> dict[str, Any]:
    """Return the JSON content: the `version` of the product, the release, and whether any volume is synthetic."""
    origin = {"version": release.version, "doi": release.record.doi}
    return {"format": version, "release": origin, "synthetic": synthetic}
