"""Where the value of each setting comes from: the run config, the file `.env`, the environment, or the default."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isles_assets.lib.env_file import ENV_FILE, read_env_file
from isles_assets.lib.secrets import without_secrets
from isles_assets.release.release import Release
from isles_assets.settings.fields import SettingFields, Variable, variables_by_field

DEFAULT = "default"
UNSET = "unset"
"""The default of a setting that may be left out."""


@dataclass(frozen=True)
class SettingInForce:
    """A setting, its value without secrets, and where that comes from."""

    variable: Variable
    value: str
    origin: str


def settings_in_force(fields: SettingFields, release: Release, folder: Path) -> list[SettingInForce]:
    """Return all settings. `folder` is where `.env` lies."""
    of_file = read_env_file(folder)
    return [
        SettingInForce(variable, without_secrets(value), origin)
        for name, variable in variables_by_field().items()
        for value, origin in [_value_and_origin(variable, getattr(fields, name, None), of_file, release)]
    ]


def _value_and_origin(
    variable: Variable, of_run: object, of_file: Mapping[str, str], release: Release
) -> tuple[str, str]:
    if of_run is not None and str(of_run):
        return str(of_run), "run config"
    value = os.environ.get(variable.name, "")
    if not value or of_run is not None:
        return variable.default.format(repo=release.repo), DEFAULT
    return value, ENV_FILE if of_file.get(variable.name) == value else "environment"
