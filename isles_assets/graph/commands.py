"""The commands that messages tell people to run."""

BUILD = "dagster job execute -m isles_assets -j build"


def materialize(*assets: str) -> str:
    """The command that materializes `assets` in one run."""
    return f"dagster asset materialize -m isles_assets --select {','.join(assets)}"


def materialize_partition(asset: str, subject: str) -> str:
    """The command that materializes the partition `subject` of `asset`."""
    return f"{materialize(asset)} --partition {subject}"


TAKE_STOCK = materialize("raw_tree", "clinical_table", "subject_manifest")
PUBLISH = materialize("hub_dataset")
RESTORE = "isles24-restore"
