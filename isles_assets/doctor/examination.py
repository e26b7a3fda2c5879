"""The whole examination: all topics at the same time, each with a patience of its own."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from isles_assets.doctor.folder import folder_lines
from isles_assets.doctor.lines import Line, Status, Topic, blockers
from isles_assets.doctor.settings import settings_lines
from isles_assets.doctor.target import target_lines
from isles_assets.doctor.tree import archive_and_tree_lines
from isles_assets.doctor.versions import version_lines
from isles_assets.doctor.zenodo import rate_lines, record_lines
from isles_assets.lib.threads import Asked, NoAnswerError
from isles_assets.lib.words import counted
from isles_assets.products.dataset import Dataset
from isles_assets.settings.fields import SettingFields
from isles_assets.settings.setup import Setup

_OF_NETWORK = 15.0
"""Seconds for the questions to Zenodo about one topic. Those to the Hub have a patience each."""

_IN_ALL = 50.0
"""Seconds for each topic."""

Lines = Iterable[Line]


def examine(
    fields: SettingFields,
    dataset: Dataset,
    folder: Path,
    *,
    instance: Callable[[], Lines],
    replaced: Sequence[str] = (),
    take_over: str = "",
) -> list[Line]:
    """Return the lines of all topics. It takes less than a minute, and sends nothing.

    Args:
        folder: The working directory of the run, where `.env` lies.
        instance: Returns the lines on what executes runs.
        replaced: Variables whose value in the environment `.env` has replaced.
        take_over: The commit of somebody else's files that the publication is to replace.
    """
    of_instance = Asked(lambda: list(instance()))
    of_settings = list(settings_lines(fields, dataset, folder, replaced))
    if unusable := blockers(of_settings):
        count = counted(len(unusable), "setting")
        what = f"not examined, and neither are Zenodo, tree and target: {count} cannot be used"
        of_setup = [Line(Topic.FOLDER, Status.NOTE, what, "mend the settings")]
    else:
        of_setup = _of_setup(fields.setup(dataset), take_over)
    return [*of_settings, *version_lines(), *of_setup, *_answer(Topic.INSTANCE, of_instance, _IN_ALL)]


def _of_setup(setup: Setup, take_over: str) -> list[Line]:
    """Return the lines that depend on the setup. All questions are asked before the first answer is waited for."""
    folder = Asked(lambda: list(folder_lines(setup)))
    record = Asked(lambda: list(record_lines(setup)))
    rate = Asked(lambda: list(rate_lines(setup)))
    tree = Asked(lambda: list(archive_and_tree_lines(setup)))
    target = Asked(lambda: list(target_lines(setup, take_over)))
    of_zenodo = [line for asked in (record, rate) for line in _answer(Topic.ZENODO, asked, _OF_NETWORK, Status.BLOCKER)]
    return [
        *_answer(Topic.FOLDER, folder, _OF_NETWORK, Status.BLOCKER),
        *dict.fromkeys(of_zenodo),  # without an answer both say the same
        *_answer(Topic.TREE, tree, _IN_ALL),
        *_answer(Topic.TARGET, target, _IN_ALL, Status.BLOCKER),
    ]


def _answer(topic: Topic, asked: Asked[list[Line]], seconds: float, status: Status = Status.NOTE) -> list[Line]:
    """Return the lines of a topic, or one with `status` if they took too long."""
    try:
        return asked.answer(max(0.0, seconds - asked.seconds))
    except NoAnswerError as error:
        what = f"could not be examined: {error}"
        return [Line(topic, status, what, "see whether disk and network answer, and examine again")]
