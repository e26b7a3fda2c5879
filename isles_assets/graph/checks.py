"""The asset checks: each a property of `isles_assets.publication.properties` or `isles_assets.hub.verification`.

A failed blocking check stops what is downstream in its own run. `hub_dataset` does not rely on that.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version

import dagster as dg
from pydantic import Field

from isles_assets.graph.reporting import of_findings
from isles_assets.graph.resources import Settings
from isles_assets.hub.target import Target
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.lib.findings import Finding, fatal, found, summarize
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.properties import PROPERTIES, Evidence, Property
from isles_assets.publication.publication import Publication

_DECODED = "decoded"
_EVALUATIONS_ASKED = 10


def property_check(prop: Property) -> dg.AssetChecksDefinition:
    """The asset check that enforces `prop`."""

    @dg.asset_check(name=prop.name, asset=prop.asset, description=prop.sentence, blocking=prop.blocking)
    def check(context: dg.AssetCheckExecutionContext, settings: Settings) -> dg.AssetCheckResult:
        severity = dg.AssetCheckSeverity.ERROR if prop.blocking else dg.AssetCheckSeverity.WARN
        return _result(context, prop.name, severity, lambda: prop.find(Evidence(settings.tree, settings.folder)))

    return check


def publication_check(verify: Callable[[Target, Publication], list[Finding]]) -> dg.AssetChecksDefinition:
    """The asset check on what is published that `verify` makes; it can be run alone at any later time."""

    @dg.asset_check(name=verify.__name__, asset="hub_dataset", description=verify.__doc__)
    def check(context: dg.AssetCheckExecutionContext, settings: Settings) -> dg.AssetCheckResult:
        def find() -> list[Finding]:
            return verify(settings.target(), recorded_publication(settings.folder, settings.repo))

        return _result(context, verify.__name__, dg.AssetCheckSeverity.ERROR, find)

    return check


class LoadsConfig(dg.Config):
    """How thoroughly to load."""

    again: bool = Field(
        False,
        description="Decode the first row also if that of the same content was decoded before, as job verify does.",
    )


@dg.asset_check(asset="hub_dataset", name=loads.__name__, description=loads.__doc__)
def loads_check(context: dg.AssetCheckExecutionContext, config: LoadsConfig, settings: Settings) -> dg.AssetCheckResult:
    """The check `loads`, which remembers what it has decoded: fetching and decoding take most of a run in vain."""
    decoded = ""

    def find() -> list[Finding]:
        nonlocal decoded
        publication = recorded_publication(settings.folder, settings.repo)
        decoded = f"{publication.digest} by datasets {version('datasets')}"
        known = decoded == _decoded_before(context) and not config.again
        context.log.info(f"The first row {'was decoded before' if known else 'is decoded'}")
        return loads(settings.target(), publication, decode=not known)

    result = _result(context, loads.__name__, dg.AssetCheckSeverity.ERROR, find)
    return result.with_metadata({**result.metadata, _DECODED: decoded}) if result.passed else result


def _decoded_before(context: dg.AssetCheckExecutionContext) -> str | None:
    """The content whose first row `loads` decoded, according to its last evaluation that passed."""
    check = dg.AssetCheckKey(dg.AssetKey("hub_dataset"), loads.__name__)
    for record in context.instance.event_log_storage.get_asset_check_execution_history(check, _EVALUATIONS_ASKED):
        evaluation = record.evaluation
        if isinstance(evaluation, dg.AssetCheckEvaluation) and evaluation.passed and _DECODED in evaluation.metadata:
            return str(evaluation.metadata[_DECODED].value)
    return None


def _result(
    context: dg.AssetCheckExecutionContext,
    name: str,
    severity: dg.AssetCheckSeverity,
    find: Callable[[], Sequence[Finding]],
) -> dg.AssetCheckResult:
    """What `find` finds, in the UI and in the log; what cannot be looked at is found wanting."""
    findings = found(find)
    if bad := fatal(findings):
        say = context.log.error if severity is dg.AssetCheckSeverity.ERROR else context.log.warning
        say("\n  ".join([f"{name} failed:", *summarize(bad)]))
    return dg.AssetCheckResult(
        passed=not bad,
        severity=severity,
        description="\n".join(summarize(bad or findings)) or None,
        metadata=of_findings(findings),
    )


CHECKS: Sequence[dg.AssetChecksDefinition] = [
    *(property_check(prop) for prop in PROPERTIES),
    *(publication_check(verify) for verify in (remote_matches_local, card_valid)),
    loads_check,
]
