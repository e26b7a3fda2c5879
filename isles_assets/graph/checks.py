"""The asset checks: each a property of `publication.properties`, or one of what is published in `hub.verification`.

A failed blocking check stops what is downstream in its own run. `hub_dataset` does not rely on that. The checks of what
is published are each of one revision, that of when they begin.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import dagster as dg
from pydantic import Field

from isles_assets.graph.commands import render
from isles_assets.graph.reporting import of_judgement, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.graph.setup import Setup
from isles_assets.hub.target import Target
from isles_assets.hub.verification import card_valid, loads, remote_matches_local, subjects_to_read
from isles_assets.lib.findings import Finding, Refusal, summarize
from isles_assets.lib.words import counted
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.judging import notes_of
from isles_assets.publication.properties import Evidence, Property, properties_of
from isles_assets.publication.publication import Publication
from isles_assets.publication.waivers import Judgement, how_to_waive, judge
from isles_assets.release.release import Release

_PUBLISHED = "hub_dataset"
_DECODED = "decoded"
_EVALUATIONS_ASKED = 10


def property_check(prop: Property, release: Release) -> dg.AssetChecksDefinition:
    """The asset check that enforces `prop` on `release`: red for what stops publication and no waiver covers."""

    def look(setup: Setup) -> Judgement:
        evidence = Evidence(setup.tree, setup.folder)
        return replace(judge(release, prop.find(evidence), evidence.waivers), looked_at=prop.looked_at(evidence))

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


@dg.asset_check(asset=_PUBLISHED, name=card_valid.__name__, description=card_valid.__doc__, blocking=True)
def card_check(
    context: dg.AssetCheckExecutionContext, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """The check `card_valid`."""

    def look(setup: Setup, publication: Publication, target: Target, log: Callable[[str], None]) -> list[Finding]:
        log(f"The card at {target.address()}")
        return card_valid(target, publication)

    return _of_published(context, _setup(settings, dataset), card_valid.__name__, look)


class ReadBackConfig(dg.Config):
    """How much of what is on the Hub is read back. Of a local target it is always all."""

    read_back: Any = Field(
        "first",
        description="The subjects whose files are fetched from the Hub and compared byte by byte, stored nowhere: "
        "`first`, a number of subjects, or `all`. Files of all subjects always are.",
    )
    after: int = Field(
        0, ge=0, description="With a number: pass over so many subjects first; after the last, begin again."
    )


@dg.asset_check(
    asset=_PUBLISHED, name=remote_matches_local.__name__, description=remote_matches_local.__doc__, blocking=True
)
def matches_check(
    context: dg.AssetCheckExecutionContext, config: ReadBackConfig, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """The check `remote_matches_local`."""
    with refusals_reported():
        subjects = subjects_to_read(dataset.release.subjects, config.read_back, config.after)

    def look(setup: Setup, publication: Publication, target: Target, log: Callable[[str], None]) -> list[Finding]:
        return remote_matches_local(target, publication, subjects=subjects, log=log)

    return _of_published(context, _setup(settings, dataset), remote_matches_local.__name__, look)


def _setup(settings: Settings, dataset: Dataset) -> Setup:
    with refusals_reported():
        return settings.setup(dataset)


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
        setup = _setup(settings, dataset)
        return _result(context, setup, name, partial(look, setup), severity)

    return check


class LoadsConfig(dg.Config):
    """How thoroughly to load."""

    again: bool = Field(
        False,
        description="Decode the first row also if that of the same revision was decoded before, as job verify does.",
    )


@dg.asset_check(asset=_PUBLISHED, name=loads.__name__, description=loads.__doc__, blocking=True)
def loads_check(
    context: dg.AssetCheckExecutionContext, config: LoadsConfig, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """The check `loads`, which remembers what it has decoded: fetching and decoding take most of a run in vain."""
    decoded = ""

    def look(setup: Setup, publication: Publication, target: Target, log: Callable[[str], None]) -> list[Finding]:
        nonlocal decoded
        decoded = f"{publication.digest} at {target.address()} by datasets {version('datasets')}"
        known = decoded == _decoded_before(context) and not config.again
        log(f"The first row of each config {'was decoded before' if known else 'is decoded'}")
        return loads(target, publication, decode=not known)

    result = _of_published(context, _setup(settings, dataset), loads.__name__, look)
    return result.with_metadata({**result.metadata, _DECODED: decoded}) if result.passed else result


def _decoded_before(context: dg.AssetCheckExecutionContext) -> str | None:
    """The revision whose first row `loads` decoded, according to its last evaluation that passed."""
    check = dg.AssetCheckKey(dg.AssetKey(_PUBLISHED), loads.__name__)
    for record in context.instance.event_log_storage.get_asset_check_execution_history(check, _EVALUATIONS_ASKED):
        evaluation = record.evaluation
        if isinstance(evaluation, dg.AssetCheckEvaluation) and evaluation.passed and _DECODED in evaluation.metadata:
            return str(evaluation.metadata[_DECODED].value)
    return None


def _of_published(
    context: dg.AssetCheckExecutionContext,
    setup: Setup,
    name: str,
    look: Callable[[Setup, Publication, Target, Callable[[str], None]], list[Finding]],
) -> dg.AssetCheckResult:
    """What `look` finds in what is published. The last that it says is what it looked at."""
    said = [""]

    def log(words: str) -> None:
        said.append(words)
        context.log.info(words)

    def judged() -> Judgement:
        publication = recorded_publication(setup.dataset, setup.folder, setup.repo)
        return Judgement(stopping=tuple(look(setup, publication, setup.target().pinned(), log)))

    result = _result(context, setup, name, judged)
    if conclusion := _conclusion(context, result.passed):
        context.log.info(conclusion)
    return result if not result.passed else result._replace(description=said[-1])


def _conclusion(context: dg.AssetCheckExecutionContext, passed: bool) -> str | None:
    """How many checks of what is published have passed in this run, once this is the last of them; else None."""
    planned, ended = (
        [
            data
            for entry in context.instance.all_logs(context.run.run_id, of_type=kind)
            if entry.dagster_event and (data := entry.dagster_event.event_specific_data).asset_key.path == [_PUBLISHED]
        ]
        for kind in (
            dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
            dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        )
    )
    if len(ended) + 1 < len(planned):
        return None
    return f"{passed + sum(check.passed for check in ended)} of {counted(len(planned), 'check')} passed"


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
        context.log.error(f"{name} failed: {counted(len(judgement.stopping), 'problem')}")
    elif judgement.stopping:
        context.log.info(f"Notes, which stop nothing: {len(judgement.stopping)}. The check lists them in the UI")
    return dg.AssetCheckResult(
        passed=not judgement.stopping,
        severity=severity,
        description=_described(judgement, severity),
        metadata=of_judgement(judgement, how),
    )


def _described(judgement: Judgement, severity: dg.AssetCheckSeverity) -> str | None:
    """What stops, line by line; else what was looked at, and of notes only their number, for the table has them all."""
    if judgement.stopping and severity is dg.AssetCheckSeverity.ERROR:
        return "\n".join(summarize(judgement.stopping, render=render))
    looked_at = f"Looked at: {judgement.looked_at}" if judgement.looked_at else ""
    notes = len(judgement.notes or judgement.stopping)
    return "\n\n".join(filter(None, [looked_at, f"Notes, which stop nothing: {notes}" if notes else ""])) or None


def checks_of(release: Release) -> Sequence[dg.AssetChecksDefinition]:
    """All checks of the graph of `release`."""
    return [
        *(property_check(prop, release) for prop in properties_of(release)),
        *(notes_check(asset, release) for asset in dict.fromkeys(prop.asset for prop in properties_of(release))),
        matches_check,
        loads_check,
        card_check,
    ]
