"""Is what is published what was meant? Each function returns its findings; none changes anything."""

from collections.abc import Iterator
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from isles_assets.hub.changes import PUBLISH, differences
from isles_assets.hub.streaming import first_row, rows_of, subject_rows
from isles_assets.hub.target import Target
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.products.config import CARD, SPLIT, Config
from isles_assets.products.features import features
from isles_assets.publication.card import dataset_info
from isles_assets.publication.publication import Publication
from isles_assets.tables.storage import SUBJECT_COLUMN


def remote_matches_local(target: Target, publication: Publication) -> list[Finding]:
    """Every published file has the size and digest of the local one, and there is no other."""
    return differences(publication, target.stored(publication))


def loads(target: Target, publication: Publication, *, decode: bool = True) -> list[Finding]:
    """Streaming any config gives every column, a first row whose volumes and pictures decode, and one row a subject.

    Without `decode` none of them is fetched: for content of which the first row was decoded before.
    """
    return [
        finding for config in publication.dataset.configs for finding in _loads(target, config, publication, decode)
    ]


def _loads(target: Target, config: Config, publication: Publication, decode: bool) -> Iterator[Finding]:
    name = config.name
    try:
        dataset = rows_of(target.location, name)
        if dataset.features != features(config):
            yield Finding("has other features than declared", PUBLISH, path=name)
        if decode:
            row = first_row(dataset)
            for column, feature in dataset.features.items():
                _decode_to_its_end(row[column], feature)
        subjects = tuple(row[SUBJECT_COLUMN] for row in subject_rows(target.location, name))
    except Exception as error:  # a reader's failure of any kind is the finding
        yield Finding(f"does not load: {type(error).__name__}: {error}", PUBLISH, path=name)
        return
    if subjects != publication.subjects:
        yield Finding(f"has {len(subjects)} rows instead of {len(publication.subjects)} subjects", PUBLISH, path=name)


def _decode_to_its_end(value: Any, feature: Any) -> None:
    """Raise whatever the reader does if a volume or picture is damaged."""
    if isinstance(feature, datasets.Nifti):
        value.dataobj[..., -1]
    elif isinstance(feature, datasets.Image):
        value.load()


def card_valid(target: Target, publication: Publication) -> list[Finding]:
    """The card's YAML is readable by the Hub's own classes, and its features and counts are those of the shards."""
    try:
        data = DatasetCard(target.card()).data
        stated = DatasetInfosDict.from_dataset_card_data(data)
        patterns = MetadataConfigs.from_dataset_card_data(data)
    except (ValueError, Refusal) as error:
        return [Finding(str(error), PUBLISH, path=CARD)]
    findings = []
    for config in publication.dataset.configs:
        if stated.get(config.name) != dataset_info(config, publication.contents[config.name]):
            findings.append(Finding(f"states other features or sizes of {config.name} than it has", PUBLISH, path=CARD))
        if patterns.get(config.name, {}).get("data_files") != [{"split": SPLIT, "path": config.pattern}]:
            findings.append(Finding(f"names other files of {config.name} than are published", PUBLISH, path=CARD))
    return findings
