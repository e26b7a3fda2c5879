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
Tell = Callable[["Evidence"], str]


@dataclass(frozen=True)
class Property:
    """A property, the asset that it is of, and whether an offence stops what is downstream in the same run.

    `on_card`: what it finds is told to readers of the dataset. It must then follow from what is recorded, so that the
    card can be made again without the tree. `tells` says what was looked at, for people; nothing if that is evident.
    """

    asset: str
    look: Find
    blocking: bool
    on_card: bool
    applies: Callable[[Release], bool]
    tells: Tell

    @property
    def name(self) -> str:
        return self.look.__name__

    def find(self, evidence: Evidence) -> list[Finding]:
        """The offenders, which say whose they are. Raises `Refusal` where the evidence cannot be read."""
        return [replace(finding, property=self.name) for finding in self.look(evidence)]

    def sentence_of(self, release: Release) -> str:
        """The sentence that it enforces on `release`: numbers and names of the release stand for those in braces."""
        return release.describe((self.look.__doc__ or "").strip().splitlines()[0])


_PROPERTIES: list[Property] = []


def properties_of(release: Release) -> list[Property]:
    """The properties that `release` must have."""
    return [prop for prop in _PROPERTIES if prop.applies(release)]


def property_names() -> list[str]:
    """The names of all properties, of whatever release."""
    return [prop.name for prop in _PROPERTIES]


def enforced(
    asset: str,
    *,
    blocking: bool = False,
    on_card: bool = True,
    when: Callable[[Release], bool] = lambda release: True,
    tells: Tell = lambda evidence: "",
) -> Callable[[Find], Find]:
    """Make a function the property of `asset` that its first line states, of releases `when` it makes sense.

    `blocking` are the properties that this project was asked for, and those without which the next asset cannot be
    made. The guard of `hub_dataset` enforces all. `on_card` and `tells` as of `Property`.
    """

    def register(look: Find) -> Find:
        _PROPERTIES.append(Property(asset, look, blocking, on_card, when, tells))
        return look

    return register
