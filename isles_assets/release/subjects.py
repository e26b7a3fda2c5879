"""The 149 subjects of the release.

The numbers are not contiguous: most gaps are the challenge's hidden test cases, and 0160 was in the 2024
challenge release but is not in v7.
"""

_NUMBERS = (
    *range(1, 18), *range(19, 23), *range(25, 29), 30, 33, *range(36, 39), 40, 43, 45, *range(47, 50),
    *range(52, 56), 57, 62, 66, 68, 70, 71, *range(73, 120), *range(133, 160), *range(161, 190),
)  # fmt: skip


def subject_id(number: int) -> str:
    """The id of the subject with that number: 14 -> `sub-stroke0014`."""
    return f"sub-stroke{number:04d}"


SUBJECT_IDS: tuple[str, ...] = tuple(subject_id(number) for number in _NUMBERS)
