"""The asset checks: each a property of `publication.properties`, or one of what is published in `hub.verification`.

A failed blocking check stops what is downstream in its own run. `hub_dataset` does not rely on that.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import dagster as dg
from pydantic import Field

from isles_assets.graph.commands import render
from isles_assets.graph.reporting import of_judgement
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.graph.setup import Setup
from isles_assets.hub.target import Target
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.lib.findings import Finding, Refusal, summarize
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.judging import notes_of
from isles_assets.publication.properties import Evidence, Property, properties_of
from isles_assets.publication.publication import Publication
from isles_assets.publication.waivers import Judgement, how_to_waive, judge
from isles_assets.release.release import Release

_DECODED = "decoded"
_EVALUATIONS_ASKED = 10


def property_check(prop: Property, release: Release) -> dg.AssetChecksDefinition:
    """The asset check that enforces `prop` on `release`: red for what stops publication and no waiver covers."""

    def look(setup: Setup) -> Judgement:
        evidence = Evidence(setup.tree, setup.folder)
        return replace(judge(release, prop.find(evidence), evidence.waivers), told=prop.tells(evidence))

    return _check(prop.asset, prop.name, prop.sentence_of(release), look, blocking=prop.blocking)


def notes_check(asset: str, release: Release) -> dg.AssetChecksDefinition:
    """The asset check that warns of the notes of all properties of `asset`, and of waivers of them that cover nothing.

    It stops nothing, and nothing may depend on it: Dagster counts a check that warns as failed.
    """

    def look(setup: Setup) -> Judgement:
        notes = notes_of(asset, Evidence(setup.tree, setup.folder))
        return Judgement(stopping=tuple(notes))

    sentence = "Nothing is odd; what is noted here stops nothing and is published as it is."
    return _check(asset, "notes", sentence, look, severity=dg.AssetCheckSeverity.WARN)


def publication_check(verify: Callable[[Target, Publication], list[Finding]]) -> dg.AssetChecksDefinition:
    """The asset check on what is published that `verify` makes; it can be run alone at any later time."""

    def look(setup: Setup) -> Judgement:
        findings = verify(setup.target(), recorded_publication(setup.dataset, setup.folder, setup.repo))
        return Judgement(stopping=tuple(findings))

    return _check("hub_dataset", verify.__name__, verify.__doc__ or "", look, blocking=True)


def _check(
    asset: str,
    name: str,
    sentence: str,
    look: Callable[[Setup], Judgement],
    *,
    blocking: bool = False,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetChecksDefinition:
    """A check of what `look` finds."""

    @dg.asset_check(name=name, asset=asset, description=sentence, blocking=blocking)
    def check(context: dg.AssetCheckExecutionContext, settings: Settings, dataset: DatasetParam) -> dg.AssetCheckResult:
        setup = settings.setup(dataset)
        return _result(context, setup, name, partial(look, setup), severity)

    return check


class LoadsConfig(dg.Config):
    """How thoroughly to load."""

    again: bool = Field(
        False,
        description="Decode the first row also if that of the same revision was decoded before, as job verify does.",
    )


@dg.asset_check(asset="hub_dataset", name=loads.__name__, description=loads.__doc__, blocking=True)
def loads_check(
    context: dg.AssetCheckExecutionContext, config: LoadsConfig, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """The check `loads`, which remembers what it has decoded: fetching and decoding take most of a run in vain."""
    setup = settings.setup(dataset)
    decoded = ""

    def look() -> Judgement:
        nonlocal decoded
        publication, target = recorded_publication(dataset, setup.folder, setup.repo), setup.target()
        decoded = f"{publication.digest} at {target.address()} by datasets {version('datasets')}"
        known = decoded == _decoded_before(context) and not config.again
        context.log.info(f"The first row {'was decoded before' if known else 'is decoded'}")
        return Judgement(stopping=tuple(loads(target, publication, decode=not known)))

    result = _result(context, setup, loads.__name__, look)
    return result.with_metadata({**result.metadata, _DECODED: decoded}) if result.passed else result


def _decoded_before(context: dg.AssetCheckExecutionContext) -> str | None:
    """The revision whose first row `loads` decoded, according to its last evaluation that passed."""
    check = dg.AssetCheckKey(dg.AssetKey("hub_dataset"), loads.__name__)
    for record in context.instance.event_log_storage.get_asset_check_execution_history(check, _EVALUATIONS_ASKED):
        evaluation = record.evaluation
        if isinstance(evaluation, dg.AssetCheckEvaluation) and evaluation.passed and _DECODED in evaluation.metadata:
            return str(evaluation.metadata[_DECODED].value)
    return None


def _result(
    context: dg.AssetCheckExecutionContext,
    setup: Setup,
    name: str,
    look: Callable[[], Judgement],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """What `look` finds, in the UI and in the log; an input that cannot be read fails the check."""
    try:
        judgement = look()
    except Refusal as refusal:
        judgement = Judgement(stopping=tuple(refusal.findings) or (Finding(refusal.headline, "see the log"),))
    how = how_to_waive(setup.dataset.release, judgement.stopping, setup.folder.waivers)
    if judgement.stopping and severity is dg.AssetCheckSeverity.ERROR:
        lines = [f"{name} failed:", *summarize(judgement.stopping, render=render)]
        context.log.error("\n  ".join(lines) + (how and f"\n{how}"))
    elif judgement.stopping:
        context.log.warning(f"Notes, which stop nothing: {len(judgement.stopping)}. The check lists them in the UI")
    return dg.AssetCheckResult(
        passed=not judgement.stopping,
        severity=severity,
        description=_described(judgement, severity),
        metadata=of_judgement(judgement, how),
    )


def _described(judgement: Judgement, severity: dg.AssetCheckSeverity) -> str | None:
    """What stops, line by line; of notes only their number, for the table has them all."""
    if judgement.stopping and severity is dg.AssetCheckSeverity.ERROR:
        return "\n".join(summarize(judgement.stopping, render=render))
    notes = len(judgement.notes or judgement.stopping)
    return f"Notes, which stop nothing: {notes}" if notes else None


def checks_of(release: Release) -> Sequence[dg.AssetChecksDefinition]:
    """All checks of the graph of `release`."""
    return [
        *(property_check(prop, release) for prop in properties_of(release)),
        *(notes_check(asset, release) for asset in dict.fromkeys(prop.asset for prop in properties_of(release))),
        *(publication_check(verify) for verify in (remote_matches_local, card_valid)),
        loads_check,
    ]
