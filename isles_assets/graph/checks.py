"""The asset checks: each enforces a property of `publication.properties`, or runs a check of `hub.verification`.

A failed blocking check stops later assets of its own run only, so `hub_dataset` does not rely on it. Each check of the
published dataset reads one revision: the newest when the check begins.
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
from isles_assets.settings.setup import Setup

_PUBLISHED_ASSET = "hub_dataset"
_DECODED = "decoded"
"""Name of the metadata with the revision whose first rows `loads` decoded."""
_MAX_EVALUATIONS = 10
"""Number of earlier evaluations of `loads` among which the last that passed is looked for."""


def property_check(prop: Property, release: Release) -> dg.AssetChecksDefinition:
    """Return the check that enforces `prop` on `release`. It fails if a finding without a waiver stops publication."""

    def evaluate(setup: Setup) -> Judgement:
        evidence = Evidence(setup.tree, setup.folder)
        return replace(judge(release, prop.find(evidence), evidence.waivers), looked_at=prop.looked_at(evidence))

    return _check(prop.asset, prop.name, prop.sentence_of(release), evaluate, blocking=prop.blocking)


def notes_check(asset: str, release: Release) -> dg.AssetChecksDefinition:
    """Return the check that warns of notes on `asset`, and of its waivers that cover nothing.

    It stops nothing. Nothing may depend on it, because Dagster counts a check with a warning as failed.
    """

    def evaluate(setup: Setup) -> Judgement:
        notes = notes_of(asset, Evidence(setup.tree, setup.folder))
        return Judgement(stopping=tuple(notes))

    sentence = "Nothing is odd. Notes listed here do not stop publication."
    return _check(asset, "notes", sentence, evaluate, severity=dg.AssetCheckSeverity.WARN)


@dg.asset_check(
    asset=_PUBLISHED_ASSET,
    name=card_valid.__name__,
    description="The Hub's own classes can read the card, and its features and counts are those of the shards.",
    blocking=True,
)
def card_check(
    context: dg.AssetCheckExecutionContext, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """Run the check `card_valid`."""

    def find(setup: Setup, publication: Publication, target: Target, log: Callable[[str], None]) -> list[Finding]:
        log(f"Card: {target.address()}")
        return card_valid(target, publication)

    return _check_published(context, _setup(settings, dataset), card_valid.__name__, find)


class ReadBackConfig(dg.Config):
    """Which files are read back from the Hub. A local target is always read in full."""

    read_back: Any = Field(
        "first",
        description="The subjects whose files are read back from the Hub and compared by digest: `first`, a number of "
        "subjects, or `all`. Files that belong to no single subject are always read back. Nothing is stored.",
    )
    after: int = Field(
        0, ge=0, description="If read_back is a number: skip this many subjects first. The first follows the last."
    )


@dg.asset_check(
    asset=_PUBLISHED_ASSET,
    name=remote_matches_local.__name__,
    description="Every published file has the size and digest of the local one, and there are no other files.",
    blocking=True,
)
def matches_check(
    context: dg.AssetCheckExecutionContext, config: ReadBackConfig, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """Run the check `remote_matches_local`."""
    with refusals_reported():
        subjects = subjects_to_read(dataset.release.subjects, config.read_back, config.after)

    def find(setup: Setup, publication: Publication, target: Target, log: Callable[[str], None]) -> list[Finding]:
        return remote_matches_local(target, publication, subjects=subjects, log=log)

    return _check_published(context, _setup(settings, dataset), remote_matches_local.__name__, find)


def _setup(settings: Settings, dataset: Dataset) -> Setup:
    with refusals_reported():
        return settings.setup(dataset)


def _check(
    asset: str,
    name: str,
    sentence: str,
    evaluate: Callable[[Setup], Judgement],
    *,
    blocking: bool = False,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetChecksDefinition:
    """Return a check of `asset` whose result is the judgement that `evaluate` returns."""

    @dg.asset_check(name=name, asset=asset, description=sentence, blocking=blocking)
    def check(context: dg.AssetCheckExecutionContext, settings: Settings, dataset: DatasetParam) -> dg.AssetCheckResult:
        setup = _setup(settings, dataset)
        return _result(context, setup, name, partial(evaluate, setup), severity)

    return check


class LoadsConfig(dg.Config):
    """When to decode rows."""

    again: bool = Field(
        False,
        description="Decode the first row of each config even if it was decoded before at this revision. Job verify "
        "sets it.",
    )


@dg.asset_check(
    asset=_PUBLISHED_ASSET,
    name=loads.__name__,
    description="Each config streams all columns and one row per subject, and its first row decodes.",
    blocking=True,
)
def loads_check(
    context: dg.AssetCheckExecutionContext, config: LoadsConfig, settings: Settings, dataset: DatasetParam
) -> dg.AssetCheckResult:
    """Run the check `loads`. It notes the revision whose rows it decoded, and does not decode these again."""
    decoded = ""

    def find(setup: Setup, publication: Publication, target: Target, log: Callable[[str], None]) -> list[Finding]:
        nonlocal decoded
        decoded = f"{publication.digest} at {target.address()} by datasets {version('datasets')}"
        decode = config.again or decoded != _last_decoded(context)
        log(f"The first row of each config {'is decoded' if decode else 'was decoded before'}")
        return loads(target, publication, decode=decode)

    result = _check_published(context, _setup(settings, dataset), loads.__name__, find)
    return result.with_metadata({**result.metadata, _DECODED: decoded}) if result.passed else result


def _last_decoded(context: dg.AssetCheckExecutionContext) -> str | None:
    """Return the revision that the last evaluation of `loads` that passed had decoded."""
    check = dg.AssetCheckKey(dg.AssetKey(_PUBLISHED_ASSET), loads.__name__)
    for record in context.instance.event_log_storage.get_asset_check_execution_history(check, _MAX_EVALUATIONS):
        evaluation = record.evaluation
        if isinstance(evaluation, dg.AssetCheckEvaluation) and evaluation.passed and _DECODED in evaluation.metadata:
            return str(evaluation.metadata[_DECODED].value)
    return None


def _check_published(
    context: dg.AssetCheckExecutionContext,
    setup: Setup,
    name: str,
    find: Callable[[Setup, Publication, Target, Callable[[str], None]], list[Finding]],
) -> dg.AssetCheckResult:
    """Return the result of a check of the published dataset.

    Args:
        find: Returns the findings. If there are none, the last message that it logs becomes the check's description.
    """
    messages = [""]

    def log(message: str) -> None:
        messages.append(message)
        context.log.info(message)

    def evaluate() -> Judgement:
        publication = recorded_publication(setup.dataset, setup.folder, setup.repo)
        return Judgement(stopping=tuple(find(setup, publication, setup.target().pinned(), log)))

    result = _result(context, setup, name, evaluate)
    if count := _count_passed(context, result.passed):
        context.log.info(count)
    return result if not result.passed else result._replace(description=messages[-1])


def _count_passed(context: dg.AssetCheckExecutionContext, passed: bool) -> str | None:
    """Return how many checks of the published dataset passed in this run; None unless this is the last of them."""
    planned, ended = (
        [
            data
            for entry in context.instance.all_logs(context.run.run_id, of_type=kind)
            if entry.dagster_event
            and (data := entry.dagster_event.event_specific_data).asset_key.path == [_PUBLISHED_ASSET]
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
    evaluate: Callable[[], Judgement],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """Return the result for the judgement of `evaluate`, and log it. An input that cannot be read fails the check."""
    try:
        judgement = evaluate()
    except Refusal as refusal:
        judgement = Judgement(stopping=tuple(refusal.findings) or (Finding(refusal.headline, "see the log"),))
    waiving = how_to_waive(setup.dataset.release, judgement.stopping, setup.folder.waivers)
    if judgement.stopping and severity is dg.AssetCheckSeverity.ERROR:
        context.log.error(f"{name} failed: {counted(len(judgement.stopping), 'problem')}")
    elif judgement.stopping:
        context.log.info(f"Notes, which stop nothing: {len(judgement.stopping)}. The UI lists them with the check")
    return dg.AssetCheckResult(
        passed=not judgement.stopping,
        severity=severity,
        description=_description(judgement, severity),
        metadata=of_judgement(judgement, waiving),
    )


def _description(judgement: Judgement, severity: dg.AssetCheckSeverity) -> str | None:
    """Return one line for each problem; without problems, what was looked at and the number of notes."""
    if judgement.stopping and severity is dg.AssetCheckSeverity.ERROR:
        return "\n".join(summarize(judgement.stopping, render=render))
    looked_at = f"Looked at: {judgement.looked_at}" if judgement.looked_at else ""
    notes = len(judgement.notes or judgement.stopping)
    return "\n\n".join(filter(None, [looked_at, f"Notes, which stop nothing: {notes}" if notes else ""])) or None


def checks_of(release: Release) -> Sequence[dg.AssetChecksDefinition]:
    """Return all checks of the graph of `release`."""
    return [
        *(property_check(prop, release) for prop in properties_of(release)),
        *(notes_check(asset, release) for asset in dict.fromkeys(prop.asset for prop in properties_of(release))),
        matches_check,
        loads_check,
        card_check,
    ]
