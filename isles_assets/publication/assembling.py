"""From shards and previews that are complete to the publication of them: the table of previews, picture and card."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from isles_assets.lib.files import sha256_of
from isles_assets.products.features import annotated_schema
from isles_assets.products.preview.preview import PREVIEW_VERSION, PreviewRecord, read_montage, write_preview_table
from isles_assets.products.schema import CARD, CARD_PICTURE, CONFIGS, PREVIEW
from isles_assets.products.shard import ShardRecord
from isles_assets.publication.card import render_card
from isles_assets.publication.publication import Publication, RepoFile
from isles_assets.tables.folder import DataFolder


def assemble(
    folder: DataFolder, repo: str, records: Mapping[str, ShardRecord], previews: Mapping[str, PreviewRecord]
) -> Publication:
    """The publication of the shards in `records` and the `previews` of the same subjects, with all that describes them.

    Reads no shard. Writes the table of previews to the data folder, unless that of the same previews is there.
    """
    shards = [file for _, record in sorted(records.items()) for file in shard_files(folder, record)]
    described = Publication(
        repo,
        records,
        previews,
        (
            *shards,
            _preview_table(folder, previews),
            RepoFile.of_bytes(CARD_PICTURE, read_montage(folder, _typical(previews))),
        ),
    )
    card = RepoFile.of_bytes(CARD, render_card(described).encode())
    return replace(described, files=(*described.files, card))


def shard_files(folder: DataFolder, record: ShardRecord) -> list[RepoFile]:
    """The files of one subject."""
    return [
        RepoFile(config.path(record.subject), source if source.exists() else None, known.size, known.sha256)
        for config in CONFIGS
        for known, source in [(record.files[config.name], folder.shard(config, record.subject))]
    ]


def _preview_table(folder: DataFolder, previews: Mapping[str, PreviewRecord]) -> RepoFile:
    """The published table of `previews`, made anew only if any of them, its schema or its version is new."""
    schema = annotated_schema(PREVIEW)
    made_from = hashlib.sha256(schema.serialize())
    for word in (str(PREVIEW_VERSION), *(previews[subject].sha256 for subject in sorted(previews))):
        made_from.update(word.encode())
    path = folder.preview_tables / f"{made_from.hexdigest()}.parquet"
    if not path.exists():
        for older in folder.preview_tables.glob("*.parquet"):
            older.unlink()
        write_preview_table(path, folder, previews, schema)
    return RepoFile(PREVIEW.path, path, path.stat().st_size, sha256_of(path))


def _typical(previews: Mapping[str, PreviewRecord]) -> str:
    """The subject whose lesion has the median volume."""
    by_volume = sorted(previews, key=lambda subject: (previews[subject].facts["lesion_ml"], subject))
    return by_volume[len(by_volume) // 2]
