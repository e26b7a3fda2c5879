"""Known oddities of a release: subjects with a peculiarity, and stray files."""

from dataclasses import dataclass
from enum import StrEnum


class Trait(StrEnum):
    """A kind of oddity that cannot be computed from the files. Checks find the others, and the card names them."""

    SECOND_LESION = "second lesion mask"
    REPLACED_LESION = "lesion mask that was replaced"
    REPEATED_ROWS = "the same row twice"
    DEATH_CODE = "score that stands for death"


@dataclass(frozen=True)
class Oddity:
    """Subjects that share a trait."""

    trait: Trait
    subjects: tuple[str, ...]
    text: str  # a sentence for the card


@dataclass(frozen=True)
class StrayFile:
    """A file of the release that is not published."""

    path: str
    what: str  # completes the sentence "It is ..."
