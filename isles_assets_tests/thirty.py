"""The first thirty subjects of ISLES'24 as a release: enough for a run to be caught in its midst, and soon done."""

from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
from isles_assets_tests.isles24 import ISLES24

THIRTY = ISLES24.only(ISLES24.subjects[:30])

defs = build_defs(THIRTY, Settings())
"""The code location that `dagster -m isles_assets_tests.thirty` loads."""
