"""The job `pilot`: a few subjects the whole way to a private repo, each step an op."""

import time
from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from isles_assets.graph import reporting
from isles_assets.graph.assets import make_missing_sample
from isles_assets.graph.reporting import RETRIES, fail_faults_at_once, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.progress import readable_time
from isles_assets.lib.words import counted
from isles_assets.pilot.choosing import choose_subjects, pilot_setup
from isles_assets.pilot.running import check_verified, make_products, publish, remove_products, verify


class PilotConfig(dg.Config):
    """Which subjects."""

    subjects: list[str] = Field(
        [], description="The ids of the subjects. Empty: the smallest, the largest and one with a waiver."
    )


class PilotPublicationConfig(dg.Config):
    """How to publish the pilot."""

    take_over: str = Field("", description="The same as take_over of hub_dataset, for the pilot's repo.")
    allow_synthetic: bool = Field(False, description="Allow a synthetic sample on the Hub. It is marked as synthetic.")


class PilotVerificationConfig(dg.Config):
    """What to keep."""

    keep: bool = Field(
        True,
        description="Keep the pilot's tables, shards and previews in the data folder, below `pilot`. What is published "
        "stays in any case.",
    )


Subjects = list[str]


@dg.op
def pilot_products(
    context: dg.OpExecutionContext, config: PilotConfig, settings: Settings, dataset: DatasetParam
) -> Subjects:
    """Tables, shards and previews of the pilot's subjects, from the release's tree, in a data folder of their own."""
    with refusals_reported():
        whole = settings.setup(dataset)
        make_missing_sample(context, whole)
        subjects = choose_subjects(whole, config.subjects)
        pilot = pilot_setup(whole, subjects)
        named = ", ".join(pilot.dataset.release.subjects)
        context.log.info(f"Pilot with {named}, in {pilot.folder.root}, to be published at {pilot.target().page}")
        packed = make_products(whole, pilot, log=context.log.info)
    context.add_output_metadata(reporting.of_pilot_products(pilot, packed))
    return list(subjects)


@dg.op(
    retry_policy=dg.RetryPolicy(max_retries=RETRIES, delay=30, backoff=dg.Backoff.EXPONENTIAL),
    pool="publishing",
)
def pilot_publication(
    context: dg.OpExecutionContext,
    config: PilotPublicationConfig,
    settings: Settings,
    dataset: DatasetParam,
    subjects: Subjects,
) -> Subjects:
    """The pilot, published to the private repo `<repo>-pilot`; never to the main repo."""
    start = time.monotonic()
    with refusals_reported(), fail_faults_at_once():
        pilot = pilot_setup(settings.setup(dataset), subjects)
        target = pilot.target(private=True, take_over=config.take_over, log=context.log.info)
        publication, published = publish(pilot, target, allow_synthetic=config.allow_synthetic)
    context.log.info(f"{'Published' if published.changed else 'Nothing has changed:'} {published.url}")
    context.add_output_metadata(
        reporting.of_published(published, target.location)
        | {"seconds": round(time.monotonic() - start, 1)}
        | reporting.of_publication(publication)
    )
    return subjects


@dg.op
def pilot_verification(
    context: dg.OpExecutionContext,
    config: PilotVerificationConfig,
    settings: Settings,
    dataset: DatasetParam,
    subjects: Subjects,
) -> None:
    """Every file of the published pilot, read back and compared; every config loaded by `load_dataset`."""
    start, messages = time.monotonic(), []

    def log(message: str) -> None:
        messages.append(message)
        context.log.info(message)

    with refusals_reported():
        pilot = pilot_setup(settings.setup(dataset), subjects)
        check_verified(pilot, verify(pilot, log))
        if not config.keep:
            remove_products(pilot)
    seconds = time.monotonic() - start
    context.log.info(f"The pilot is as it should be: {pilot.target().page}, verified in {readable_time(seconds)}")
    context.add_output_metadata(
        {"findings": 0, "compared": messages[-1], "seconds": round(seconds, 1), **_kept(config.keep, subjects)}
    )


def _kept(keep: bool, subjects: Sequence[str]) -> reporting.Metadata:
    return {"kept": f"files of {counted(len(subjects), 'subject')}" if keep else "nothing on this disk"}


@dg.job(executor_def=dg.in_process_executor)
def pilot() -> None:
    """Take two or three subjects the whole way to a private repo, `<repo>-pilot`, and verify all that is there."""
    pilot_verification(pilot_publication(pilot_products()))
