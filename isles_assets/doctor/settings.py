"""The settings in force, and where each comes from."""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from isles_assets.doctor.lines import Line, Status, Topic, fine, lines_of
from isles_assets.lib.env_file import read_env_file
from isles_assets.lib.findings import Refusal
from isles_assets.lib.secrets import without_secrets
from isles_assets.products.dataset import Dataset
from isles_assets.settings.fields import SettingFields, is_whole_number, variables, variables_by_field
from isles_assets.settings.origins import DEFAULT, UNSET, SettingInForce, settings_in_force

_PREFIX = "ISLES_"
_OF_CLIENTS = ("HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
"""Variables of the clients that decide whom they reach."""


def settings_lines(
    fields: SettingFields, dataset: Dataset, folder: Path, replaced: Sequence[str] = ()
) -> Iterator[Line]:
    """Yield what a run reads and writes, the settings that are not the default's, and blockers for unusable ones.

    Args:
        folder: Where `.env` lies.
        replaced: Variables whose value in the environment `.env` has replaced.
    """
    in_force = settings_in_force(fields, dataset.release, folder)
    chosen = [setting for setting in in_force if setting.origin != DEFAULT]
    for setting in chosen:
        yield fine(Topic.SETTINGS, _described(setting))
    if clients := [name for name in _OF_CLIENTS if os.environ.get(name)]:
        of_file = read_env_file(folder)
        places = [f"{name}={_client_value(name)} ({'.env' if name in of_file else 'environment'})" for name in clients]
        yield fine(Topic.SETTINGS, "; ".join(places))
    defaults = [
        f"{setting.variable.name}={setting.value}"
        for setting in in_force
        if setting.origin == DEFAULT and setting.value != UNSET
    ]
    if defaults:
        yield fine(Topic.SETTINGS, f"by default: {', '.join(defaults)}")
    for name in replaced:
        what = f"{name} is set in the environment, too: `.env` replaces that value"
        yield Line(Topic.SETTINGS, Status.NOTE, what, "remove one of the two")
    yield from _unknown()
    yield from _unusable(fields, dataset)


def _described(setting: SettingInForce) -> str:
    return f"{setting.variable.name}={setting.value} ({setting.origin})"


def _client_value(name: str) -> str:
    return "***" if name == "HF_TOKEN" else without_secrets(os.environ[name])


def _unknown() -> Iterator[Line]:
    """Yield a note for each variable that looks like a setting and is none."""
    names = [variable.name for variable in variables()]
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            mend = f"did you mean {close[0]}?" if close else "remove it: nothing reads it"
            yield Line(Topic.SETTINGS, Status.NOTE, f"{name} is set, and is no setting", mend)


def _unusable(fields: SettingFields, dataset: Dataset) -> Iterator[Line]:
    name = variables_by_field()["partitions_per_run"].name
    number = os.environ.get(name, "")
    if number and not is_whole_number(number):
        mend = "set it to a whole number from 1, or unset it"
        yield Line(Topic.SETTINGS, Status.BLOCKER, f"{name}: is {number!r}", mend)
    try:
        effective = fields.setup(dataset).effective
    except Refusal as refusal:
        yield from lines_of(Topic.SETTINGS, Status.BLOCKER, refusal)
        return
    yield fine(Topic.SETTINGS, f"reads {effective['source']}; publishes at {effective['published at']}")
