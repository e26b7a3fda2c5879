"""The asset checks: each a property of `publication.properties`, or one of what is published in `hub.verification`.

A failed blocking check stops what is downstream in its own run. `hub_dataset` does not rely on that.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version

import dagster as dg
from pydantic import Field

from isles_assets.graph.commands import render
from isles_assets.graph.reporting import of_findings
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.graph.setup import Setup
from isles_assets.hub.target import Target
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.lib.findings import Finding, fatal, found, summarize
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.properties import Evidence, Property, properties_of
from isles_assets.publication.publication import Publication
from isles_assets.release.release import Release

_DECODED = "decoded"
_EVALUATIONS_ASKED = 10


def property_check(release: Release, prop: Property) -> dg.AssetChecksDefinition:
    """The asset check that enforces `prop` on `release`."""

    def find(setup: Setup) -> Iterable[Finding]:
        return prop.find(Evidence(setup.tree, setup.folder))

    return _check(prop.asset, prop.name, prop.sentence_of(release), find, blocking=prop.blocking)


def publication_check(verify: Callable[[Target, Publication], list[Finding]]) -> dg.AssetChecksDefinition:
    """The asset check on what is published that `verify` makes; it can be run alone at any later time."""

    def find(setup: Setup) -> list[Finding]:
        return verify(setup.target(), recorded_publication(setup.dataset, setup.folder, setup.repo))

    return _check("hub_dataset", verify.__name__, verify.__doc__ or "", find)


def _check(
    asset: str, name: str, sentence: str, find: Callable[[Setup], Iterable[Finding]], *, blocking: bool | None = None
) -> dg.AssetChecksDefinition:
    """A check of what `find` finds. One that could block and does not only warns."""
    severity = dg.AssetCheckSeverity.WARN if blocking is False else dg.AssetCheckSeverity.ERROR

    @dg.asset_check(name=name, asset=asset, description=sentence, blocking=bool(blocking))
    def check(context: dg.AssetCheckExecutionContext, settings: Settings, dataset: DatasetParam) -> dg.AssetCheckResult:
        return _result(context, name, partial(find, settings.setup(dataset)), severity)

    return check


class LoadsConfig(dg.Config):
    """How thoroughly to load."""

    again: bool = Field(
        False,
        description="Decode the first row also if that of the same content was decoded before, as job verify does.",
    )


@dg.asset_check(asset="hub_dataset", name=loads.__name__, description=loads.__doc__)
def loads_check(
    context: dg.AssetCheckExecutionContext, config: LoadsConfig, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """The check `loads`, which remembers what it has decoded: fetching and decoding take most of a run in vain."""
    setup = settings.setup(dataset)
    decoded = ""

    def find() -> list[Finding]:
        nonlocal decoded
        publication = recorded_publication(dataset, setup.folder, setup.repo)
        decoded = f"{publication.digest} by datasets {version('datasets')}"
        known = decoded == _decoded_before(context) and not config.again
        context.log.info(f"The first row {'was decoded before' if known else 'is decoded'}")
        return loads(setup.target(), publication, decode=not known)

    result = _result(context, loads.__name__, find)
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
    find: Callable[[], Iterable[Finding]],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """What `find` finds, in the UI and in the log; an input that cannot be read fails the check."""
    findings = found(find)
    if bad := fatal(findings):
        say = context.log.error if severity is dg.AssetCheckSeverity.ERROR else context.log.warning
        say("\n  ".join([f"{name} failed:", *summarize(bad, render=render)]))
    return dg.AssetCheckResult(
        passed=not bad,
        severity=severity,
        description="\n".join(summarize(bad or findings, render=render)) or None,
        metadata=of_findings(findings),
    )


def checks_of(release: Release) -> Sequence[dg.AssetChecksDefinition]:
    """All checks of the graph of `release`."""
    return [
        *(property_check(release, prop) for prop in properties_of(release)),
        *(publication_check(verify) for verify in (remote_matches_local, card_valid)),
        loads_check,
    ]
