"""Shards that leave this disk for the Hub's staging branch, where `main`'s readers do not see them."""

from collections.abc import Sequence

from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.products.shard import ShardRecord, free_shard
from isles_assets.publication.assembling import shard_files
from isles_assets.tables.folder import DataFolder


def stage_and_free(hub: HuggingFaceHub, folder: DataFolder, records: Sequence[ShardRecord]) -> None:
    """Stage the shards of `records` in one commit; remove them here once the Hub has every byte."""
    hub.stage([file for record in records for file in shard_files(folder, record)])
    for record in records:
        free_shard(folder, record)
