"""The type of waivers. A release's waivers are in its own module, the operator's in `waivers.yaml`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Waiver:
    """Somebody takes responsibility for findings of one property.

    A waiver of one finding names its subject and path, if the finding has them. A waiver of several names neither, but
    their count.
    """

    release: str  # its version
    property: str
    found: str  # as in the finding, or the finding's code alone
    reason: str
    subject: str = ""
    path: str = ""
    count: int | None = None  # of findings with this code
