"""The commands that messages tell people to run."""

BUILD = "dagster job execute -m isles_assets -j build"


def materialize(*assets: str) -> str:
    """The command that materializes `assets` in one run."""
    return f"dagster asset materialize -m isles_assets --select {','.join(assets)}"


def materialize_shard(subject: str) -> str:
    """The command that makes the shards of `subject`."""
    return f"{materialize('subject_shard')} --partition {subject}"


def materialize_preview(subject: str) -> str:
    """The command that makes the preview of `subject`."""
    return f"{materialize('subject_preview')} --partition {subject}"


TAKE_STOCK = materialize("raw_tree", "clinical_table", "subject_manifest")
PUBLISH = materialize("hub_dataset")
