"""All files in `metadata/`, as files of a publication."""

from dataclasses import replace

from isles_assets.products.config import COLUMNS, CROISSANT, VOLUMES, WAIVERS
from isles_assets.products.product import PublicationFile
from isles_assets.products.shard.product import Shard
from isles_assets.publication.metadata import columns, volumes, waivers
from isles_assets.publication.metadata.croissant import croissant_json
from isles_assets.publication.publication import Publication


def metadata_files(publication: Publication) -> list[PublicationFile]:
    """Return the files that describe those of `publication`. The same publication gives the same bytes."""
    dataset, made, judgement = publication.dataset, publication.made, publication.judgement
    manifest = publication.manifest
    tables = {
        COLUMNS: columns.columns_csv(dataset, made, manifest),
        VOLUMES: volumes.volumes_csv(dataset.release, made[Shard.name], manifest, judgement),
        WAIVERS: waivers.waivers_csv(dataset.release, judgement.waived),
    }
    files = [PublicationFile.of_bytes(path, text.encode()) for path, text in tables.items()]
    listed = replace(publication, files=(*publication.files, *files))
    headers = {COLUMNS: columns.HEADER, VOLUMES: volumes.HEADER, WAIVERS: waivers.HEADER}
    return [*files, PublicationFile.of_bytes(CROISSANT, croissant_json(listed, headers).encode())]
