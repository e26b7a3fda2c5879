"""What a waiver is. Those of a release are in its own module, those of the operator in `waivers.yaml`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Waiver:
    """Somebody takes responsibility for findings of `property` in `release`, a version, for a `reason`.

    `found` is what was found, as the finding says it, or its code alone. A waiver of one finding names its `subject`
    and `path`, if the finding has them. A waiver with a `count` names neither and covers as many findings of that code.
    """

    release: str
    property: str
    found: str
    reason: str
    subject: str = ""
    path: str = ""
    count: int | None = None
