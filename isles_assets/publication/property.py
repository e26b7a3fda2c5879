"""What a property is, and the register of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isles_assets.lib.findings import Finding
from isles_assets.release.release import Release

if TYPE_CHECKING:
    from isles_assets.publication.evidence import Evidence

Find = Callable[["Evidence"], Iterable[Finding]]
LookedAt = Callable[["Evidence"], str]


@dataclass(frozen=True)
class Property:
    """A property of the release, which one asset check enforces.

    Attributes:
        asset: The asset that has the check.
        look: Yields a finding for each offence; its name and its first line are those of the check.
        blocking: Whether an offence stops downstream assets in the same run.
        on_card: Whether the card names the findings. They must then follow from the tables and sidecars alone, so that
            the card can be rendered again without the tree.
        applies: Whether a release has the property at all.
        looked_at: Describes what the check looked at; empty if that is evident.
    """

    asset: str
    look: Find
    blocking: bool
    on_card: bool
    applies: Callable[[Release], bool]
    looked_at: LookedAt

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.look.__name__

    def find(self, evidence: Evidence) -> list[Finding]:
        """Return the findings, which carry the property's name.

        Raises:
            Refusal: The evidence cannot be read.
        """
        return [replace(finding, property=self.name) for finding in self.look(evidence)]

    def sentence_of(self, release: Release) -> str:
        """Return the sentence that the check enforces, with the numbers and names of `release` filled in."""
        return release.describe((self.look.__doc__ or "").strip().splitlines()[0])


_PROPERTIES: list[Property] = []


def properties_of(release: Release) -> list[Property]:
    """Return the properties that `release` must have."""
    return [prop for prop in _PROPERTIES if prop.applies(release)]


def property_names() -> list[str]:
    """Return the names of all properties, whichever release they apply to."""
    return [prop.name for prop in _PROPERTIES]


def enforced(
    asset: str,
    *,
    blocking: bool = False,
    on_card: bool = True,
    when: Callable[[Release], bool] = lambda release: True,
    looked_at: LookedAt = lambda evidence: "",
) -> Callable[[Find], Find]:
    """Register a function as a property of `asset`. The first line of its docstring is the sentence to enforce.

    The guard of `hub_dataset` enforces every property.

    Args:
        asset: As in `Property`.
        blocking: Set it if the next asset cannot be made without the property, or if the property is one of those that
            define the release: its subjects, sessions, layout and modalities.
        on_card: As in `Property`.
        when: Whether a release has the property.
        looked_at: As in `Property`.
    """

    def register(look: Find) -> Find:
        _PROPERTIES.append(Property(asset, look, blocking, on_card, when, looked_at))
        return look

    return register
