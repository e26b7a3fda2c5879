"""Makes Dagster's instance, as `make setup` does by `python -m isles_assets.graph.instance`.

Dagster makes the tables of a new instance when it is first opened, and does not expect others to do the same at that
moment: commands that are started at once can leave two revisions in a database, which none can open after that.
"""

from dagster._cli.utils import get_possibly_temporary_instance_for_cli


def make_instance() -> None:
    """Open the instance that commands in this folder use, by `DAGSTER_HOME` or its `dagster.yaml`."""
    with get_possibly_temporary_instance_for_cli("make setup"):
        pass


if __name__ == "__main__":
    make_instance()
