"""Makes Dagster's instance, as `make setup` does by `python -m isles_assets.graph.instance`.

Dagster makes the tables of a new instance when it is first opened, and does not expect others to do the same at that
moment: commands that are started at once can leave two revisions in a database, which none can open after that.
"""

import os
from pathlib import Path

from dagster._cli.utils import get_instance_for_cli

from isles_assets.graph.environment import with_variables


def make_instance() -> None:
    """Open the instance that commands in this folder use, by `DAGSTER_HOME` or its `dagster.yaml`."""
    os.environ.update(with_variables(Path.cwd()))
    with get_instance_for_cli():
        pass


if __name__ == "__main__":
    make_instance()
