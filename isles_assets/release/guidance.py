"""What people should know of a release before they use it, in words for the dataset's card."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guidance:
    """Sentences for the card, in Markdown."""

    intended: str
    not_intended: str
    not_in_it: str  # what somebody may miss, such as hidden test cases
    contact: str  # for questions on the data
    limits: tuple[str, ...] = ()  # also biases
