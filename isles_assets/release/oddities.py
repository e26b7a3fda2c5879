"""What is odd in a release and known: subjects that surprise, and files that do not belong."""

from dataclasses import dataclass
from enum import StrEnum


class Trait(StrEnum):
    """A kind of oddity. What can be computed of the files is none: the checks tell it, and the card after them."""

    SECOND_LESION = "second lesion mask"
    REPLACED_LESION = "lesion mask that was replaced"
    REPEATED_ROWS = "the same row twice"
    DEATH_CODE = "score that stands for death"


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
