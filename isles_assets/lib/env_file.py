"""The file `.env` of the working directory, which Dagster's commands read, too."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

ENV_FILE = ".env"


def read_env_file(folder: Path) -> Mapping[str, str]:
    """Return the variables that the file `.env` in `folder` sets; none if there is no such file."""
    return {name: value for name, value in dotenv_values(folder / ENV_FILE).items() if value is not None}


def load_env_file(folder: Path) -> list[str]:
    """Set the variables of `.env` in `folder` for this process, as Dagster's commands do: the file wins.

    Returns:
        The names of the variables that had another value before.
    """
    of_file = read_env_file(folder)
    replaced = [name for name, value in of_file.items() if os.environ.get(name, value) != value]
    os.environ.update(of_file)
    return replaced
