"""A synthetic tree in the release's exact layout, for tests, the demo and benchmarks. No patient is in it.

`tree.make_sample` writes it; `isles24 sample` is the same from a shell. What the release is comes
from `isles_assets.release`; what its files look like inside (grids, data types, cell types, sizes) follows the fact
sheet of the release, section numbers of which stand beside the constants.
"""

SYNTHETIC_MARK = "SYNTHETIC isles-assets sample"
"""Stands in `descrip` of every NIfTI file and as title of every workbook, so that no reader mistakes the sample."""
