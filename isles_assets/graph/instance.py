"""Make Dagster's instance. `make setup` runs `python -m isles_assets.graph.instance`.

Dagster makes the tables of an instance when a command first opens it. Two commands that do so at the same time can
write two revisions to a database, which no command can open afterwards.
"""

import os
from pathlib import Path

from dagster._cli.utils import get_instance_for_cli

from isles_assets.graph.environment import with_variables


def make_instance() -> None:
    """Open the instance that commands in this folder use: that of `DAGSTER_HOME`, or of the folder's `dagster.yaml`."""
    os.environ.update(with_variables(Path.cwd()))
    with get_instance_for_cli():
        pass


if __name__ == "__main__":
    make_instance()
