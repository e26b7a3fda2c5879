"""The asset checks: each a property of `isles_assets.properties` or `isles_assets.hub.verification`.

A failed blocking check stops what is downstream in its own run. `hub_dataset` does not rely on that.
"""

from collections.abc import Callable, Sequence

import dagster as dg

from isles_assets.dataset.publication import Publication
from isles_assets.findings import Finding, Refusal
from isles_assets.graph.reporting import check_result
from isles_assets.graph.resources import Settings
from isles_assets.guard import recorded_publication
from isles_assets.hub.target import Target
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.properties import PROPERTIES, Evidence, Property

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


def property_check(prop: Property) -> dg.AssetChecksDefinition:
    """The asset check that enforces `prop`."""

    @dg.asset_check(name=prop.name, asset=prop.asset, description=prop.sentence, blocking=prop.blocking)
    def check(settings: Settings) -> dg.AssetCheckResult:
        try:
            findings = prop.find(Evidence(settings.tree, settings.folder))
        except Refusal as refusal:
            findings = list(refusal.findings)
        return check_result(findings, ERROR if prop.blocking else WARN)

    return check


def publication_check(verify: Callable[[Target, Publication], list[Finding]]) -> dg.AssetChecksDefinition:
    """The asset check on what is published that `verify` makes; it can be run alone at any later time."""

    @dg.asset_check(name=verify.__name__, asset="hub_dataset", description=verify.__doc__)
    def check(settings: Settings) -> dg.AssetCheckResult:
        try:
            publication = recorded_publication(settings.folder, settings.hub_repo)
            findings = verify(settings.target, publication)
        except Refusal as refusal:
            findings = list(refusal.findings)
        return check_result(findings, ERROR)

    return check


CHECKS: Sequence[dg.AssetChecksDefinition] = [
    *(property_check(prop) for prop in PROPERTIES),
    *(publication_check(verify) for verify in (remote_matches_local, loads, card_valid)),
]
