"""Is what is published what was meant? Each function returns its findings; none changes anything."""

from collections.abc import Iterator

import datasets
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from isles_assets.commands import PUBLISH
from isles_assets.dataset.card import dataset_info
from isles_assets.dataset.features import features
from isles_assets.dataset.publication import CARD, Publication
from isles_assets.dataset.schema import CONFIGS, SPLIT, Config
from isles_assets.findings import Finding, Refusal
from isles_assets.hub.target import Target


def remote_matches_local(target: Target, publication: Publication) -> list[Finding]:
    """Every published file has the size and digest of the local one, and there is no other."""
    stored = target.stored()
    findings = []
    for file in publication.files:
        found = stored.get(file.path)
        if found is None:
            findings.append(Finding("", file.path, "is not published", PUBLISH))
        elif found.size != file.size:
            findings.append(Finding("", file.path, f"has {found.size} bytes instead of {file.size}", PUBLISH))
        elif found.sha256 != file.sha256:
            findings.append(Finding("", file.path, "has other bytes than the local one", PUBLISH))
    unknown = sorted(set(stored) - {file.path for file in publication.files})
    return findings + [Finding("", path, "is published but not of this dataset", PUBLISH) for path in unknown]


def loads(target: Target, publication: Publication) -> list[Finding]:
    """Streaming any config gives every column, volumes that decode, and one row a subject."""
    return [finding for config in CONFIGS for finding in _loads(target, config, publication)]


def _loads(target: Target, config: Config, publication: Publication) -> Iterator[Finding]:
    name = config.name
    try:
        dataset = datasets.load_dataset(target.location, name, split=SPLIT, streaming=True)
        if dataset.features != features(config):
            yield Finding("", name, "has other features than declared", PUBLISH)
        row = next(iter(dataset))
        for volume in config.volumes:
            if tuple(row[volume.column].shape) != tuple(row[volume.column].dataobj.shape):
                yield Finding(row["subject_id"], name, f"`{volume.column}` does not decode", PUBLISH)
        subjects = tuple(row["subject_id"] for row in dataset.select_columns(["subject_id"]))
    except Exception as error:  # a reader's failure of any kind is the finding
        yield Finding("", name, f"does not load: {type(error).__name__}: {error}", PUBLISH)
        return
    if subjects != publication.subjects:
        yield Finding("", name, f"has {len(subjects)} rows instead of {len(publication.subjects)} subjects", PUBLISH)


def card_valid(target: Target, publication: Publication) -> list[Finding]:
    """The card's YAML is readable by the Hub's own classes, and its features and counts are those of the shards."""
    try:
        data = DatasetCard(target.card()).data
        stated = DatasetInfosDict.from_dataset_card_data(data)
        patterns = MetadataConfigs.from_dataset_card_data(data)
    except (ValueError, Refusal) as error:
        return [Finding("", CARD, str(error), PUBLISH)]
    findings = []
    for config in CONFIGS:
        files = [record.files[config.name] for record in publication.records.values()]
        if stated.get(config.name) != dataset_info(config, files):
            findings.append(Finding("", CARD, f"states other features or sizes of {config.name} than it has", PUBLISH))
        if patterns.get(config.name, {}).get("data_files") != [{"split": SPLIT, "path": config.pattern}]:
            findings.append(Finding("", CARD, f"names other files of {config.name} than are published", PUBLISH))
    return findings
