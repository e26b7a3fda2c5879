"""All files in `metadata/`, as files of a publication."""

from isles_assets.products.config import COLUMNS, VOLUMES, WAIVERS
from isles_assets.products.product import PublicationFile
from isles_assets.products.shard.product import Shard
from isles_assets.publication.metadata.columns import columns_csv
from isles_assets.publication.metadata.volumes import volumes_csv
from isles_assets.publication.metadata.waivers import waivers_csv
from isles_assets.publication.publication import Publication


def metadata_files(publication: Publication) -> list[PublicationFile]:
    """Return the files that describe those of `publication`. The same publication gives the same bytes."""
    dataset, made, judgement = publication.dataset, publication.made, publication.judgement
    manifest = publication.manifest
    tables = {
        COLUMNS: columns_csv(dataset, made, manifest),
        VOLUMES: volumes_csv(dataset.release, made[Shard.name], manifest, judgement),
        WAIVERS: waivers_csv(dataset.release, judgement.waived),
    }
    return [PublicationFile.of_bytes(path, text.encode()) for path, text in tables.items()]
