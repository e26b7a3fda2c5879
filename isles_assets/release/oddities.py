"""What is odd in a release and known: subjects that surprise, and files that do not belong."""

from dataclasses import dataclass
from enum import StrEnum


class Trait(StrEnum):
    """A kind of oddity that the sample shows as well."""

    EMPTY_LESION = "empty lesion mask"
    TINY_LESION = "lesion mask of few voxels"
    OTHER_LESION_TYPE = "lesion mask of another data type"
    SECOND_LESION = "second lesion mask"
    REPEATED_ROWS = "the same row twice"
    NON_FINITE_MTT = "mtt that is not finite"
    OBLIQUE = "oblique affine"


@dataclass(frozen=True)
class Oddity:
    """`subjects` share the `trait`, which `text` states in a sentence for the card."""

    trait: Trait
    subjects: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class StrayFile:
    """A file of the release at `path` that is not published; `what` says what it is, to follow "is"."""

    path: str
    what: str
