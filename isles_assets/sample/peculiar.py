"""Peculiar subjects of ISLES'24, for the sample to have the same. Odd clinical values are in `clinical`.

Nothing else needs these facts: the card takes its own from the release and its files. The fact sheet, sections 3, 4 and
10, is the source. It states of some peculiarities how many subjects have them, but not which. Then the ids are
invented, and a remark says so.
"""

from math import inf, nan


def _ids(*numbers: int) -> tuple[str, ...]:
    return tuple(f"sub-stroke{number:04d}" for number in numbers)


CENTRE_2 = frozenset(_ids(*range(133, 183)))
"""All other subjects are of centre 1."""

# Grids

SLICES = {"sub-stroke0016": (80, 2.0), "sub-stroke0037": (70, 3.0), "sub-stroke0040": (177, 0.8),
          "sub-stroke0158": (101, 2.0)}  # fmt: skip
"""Unusual numbers of NCCT slices, and their spacing in mm. 0040 is the largest of the release."""

ROWS = {"sub-stroke0016": 610}
"""Known rows of NCCTs that have 512 columns."""

AXIS_ALIGNED_2 = _ids(137, 154, 158, 170)
"""Subjects of centre 2 whose NCCT is not tilted."""

TILTED_2 = _ids(143, 168)
"""Subjects of centre 2 whose NCCT is tilted about one axis alone. Invented ids."""

OBLIQUE_1 = _ids(15, 26)
"""Subjects of centre 1 whose NCCT is tilted about more than one axis, like nearly all of centre 2."""

FAR = {
    "sub-stroke0077": -1050.9, "sub-stroke0078": -1156.0, "sub-stroke0079": -1272.57, "sub-stroke0104": -1101.48,
    "sub-stroke0109": -1079.87, "sub-stroke0112": -1176.78, "sub-stroke0114": -1191.13, "sub-stroke0117": -1029.81,
    "sub-stroke0185": -1183.51,
}  # fmt: skip
"""z translation in mm of NCCTs so far from the origin that float32 steps there are more than 1e-4 mm."""

OTHER_CIRCLE_GRID = _ids(16)
"""Circle-of-Willis masks on a grid of their own, written by another program."""

WIDE_CTP = {"sub-stroke0040": 25}
"""Native CTP slices of 5 mm, more than usual. They make 0040's registered CTP as large as in the release."""

# Masks

EMPTY_LESION = _ids(141, 162)
TINY_LESION = _ids(171)
"""Lesion masks of three voxels."""

SCALED_LESION = _ids(20, 88, 158)
"""Lesion masks stored as 0 and 65535 with a slope, like 0158's in 2024. Invented ids: those in v7 are not known."""

QFORM_ONLY_LESION = _ids(5, 100, 150)
"""Lesion masks whose transform is in the qform alone. One of the release is like that; the ids are invented."""

RESTORED_LESION = _ids(145)
"""Lesion masks that were replaced, and written by another program."""

EMPTY_LVO = _ids(100, 141, 147, 163)
THIRD_A2 = _ids(7, 62, 98, 144, 187)
"""Circle-of-Willis masks with a third A2, label 15. Five subjects have one; the ids are invented."""

# Mean transit times

NON_FINITE_MTT = _ids(30, 37, 74, 78, 86, 89, 96, 98, 102, 106, 113, 117, 185, 187)
MOSTLY_NON_FINITE_MTT = _ids(113)
"""Those of them with by far the most such voxels."""

FEW_ODD_MTT = {"sub-stroke0001": (nan, inf, -54112.0), "sub-stroke0005": (-20880.0,)}
"""All odd values of these `mtt` volumes, one voxel each."""
