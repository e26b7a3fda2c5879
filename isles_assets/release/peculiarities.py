"""What is odd in v7 and known: files that do not belong, and subjects that surprise.

Each fact is stated once, here; the layout check, the sample tree and the card read it from here.
"""

import re
from dataclasses import dataclass

from isles_assets.release.subjects import subject_id

STRAY_FILES: dict[str, str] = {
    "derivatives/sub-stroke0142/ses-02/sub-stroke0142_ses-02_lesion-msk.nii": (
        "a second, uncompressed lesion mask of the release itself; the published one is the .nii.gz"
    ),
}

OS_JUNK = re.compile(r"(^|/)(\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|__MACOSX/.*)$", re.IGNORECASE)


@dataclass(frozen=True)
class Peculiarity:
    """`subjects` share the trait that `text` states, a sentence for the card."""

    subjects: tuple[str, ...]
    text: str


def _of(text: str, *numbers: int) -> Peculiarity:
    return Peculiarity(tuple(subject_id(number) for number in numbers), text)


EMPTY_LESION = _of("The lesion mask is empty; that is the annotation, not a missing file.", 141, 162)
TINY_LESION = _of("The lesion mask has very few voxels (3 before v7).", 171)
REPLACED_LESION = _of("The lesion mask was replaced in v7 and is stored with another data type than the others.", 145)
STRAY_LESION = _of("The release holds a second, uncompressed lesion mask; the compressed one is published.", 142)
DUPLICATE_ROWS = _of("Both workbooks hold the same row twice; it is published once.", 180)
NON_FINITE_MTT = _of(
    "`mtt` holds NaN or infinite voxels (of 99 subjects audited before v7; others may, too).",
    30, 37, 74, 78, 86, 89, 96, 98, 102, 106, 113, 117, 185, 187,
)  # fmt: skip
OBLIQUE = _of("The affine is oblique about more than one axis.", 15, 26)

PECULIARITIES = (
    EMPTY_LESION, TINY_LESION, REPLACED_LESION, STRAY_LESION, DUPLICATE_ROWS, NON_FINITE_MTT, OBLIQUE,
)  # fmt: skip
