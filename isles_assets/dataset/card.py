"""The dataset card: YAML from which the Hub and `load_dataset` infer nothing, and the text for people."""

from collections.abc import Iterable, Mapping

from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from isles_assets.dataset.features import features
from isles_assets.dataset.schema import CONFIGS, SPLIT, SUBJECT_COLUMN, Config
from isles_assets.dataset.shard import ShardFile, ShardRecord
from isles_assets.markdown import markdown_table
from isles_assets.release.clinical import VARIABLES, Kind, Known
from isles_assets.release.peculiarities import PECULIARITIES
from isles_assets.release.record import CITATIONS, RELEASE
from isles_assets.release.volumes import VOLUMES, Content, Grid

CARD_VERSION = 1
"""To be raised when the same shards are to have another card."""

_SYNTHETIC = """> [!WARNING]
> **SYNTHETIC SAMPLE.** These are computed phantoms and invented clinical values, made to try the pipeline out.
> They are not the ISLES'24 release and show no patient.
"""


def dataset_info(config: Config, files: Iterable[ShardFile]) -> DatasetInfo:
    """Features, split and sizes (bytes) of `config`, whose shards are `files`."""
    files = list(files)
    values, size = sum(file.values for file in files), sum(file.size for file in files)
    splits = SplitDict()
    splits.add(SplitInfo(SPLIT, num_bytes=values, num_examples=len(files)))
    return DatasetInfo(
        features=features(config), config_name=config.name, splits=splits, download_size=size, dataset_size=values
    )


def render_card(repo: str, records: Mapping[str, ShardRecord], synthetic: bool) -> str:
    """The card of `repo` holding the shards in `records`, as Markdown with YAML front matter."""
    return f"---\n{_front_matter(records, synthetic)}\n---\n\n{_text(repo, records, synthetic)}"


def _front_matter(records: Mapping[str, ShardRecord], synthetic: bool) -> str:
    data = DatasetCardData(
        license=RELEASE.license_id,
        pretty_name=f"{'SYNTHETIC SAMPLE of ' if synthetic else ''}{RELEASE.title}",
        task_categories=["image-segmentation"],
        language=["en"],
        tags=["medical", "neuroimaging", "stroke", "ct", "mri", "nifti", *(["synthetic"] if synthetic else [])],
        size_categories=["n<1K"],
    )
    infos = {
        config.name: dataset_info(config, [record.files[config.name] for record in records.values()])
        for config in CONFIGS
    }
    DatasetInfosDict(infos).to_dataset_card_data(data)
    MetadataConfigs(
        {config.name: {"data_files": [{"split": SPLIT, "path": config.pattern}]} for config in CONFIGS}
    ).to_dataset_card_data(data)
    return data.to_yaml()


def _text(repo: str, records: Mapping[str, ShardRecord], synthetic: bool) -> str:
    maps = ", ".join(f"`{volume.column}`" for volume in VOLUMES if volume.content is Content.MAP)
    first = min(records)
    configs = markdown_table(
        ("config", "holds", "rows", "bytes"),
        [
            (f"`{config.name}`", config.description, len(records), f"{_config_size(config, records):,}")
            for config in CONFIGS
        ],
    )
    volumes = markdown_table(
        ("column", "grid", "content", "source file"),
        [(f"`{v.column}`", v.grid.value, v.description, f"`{v.path('<subject>')}`") for v in VOLUMES],
    )
    clinical = markdown_table(
        ("column", "type", "known", "in the release's workbooks", "meaning"),
        [
            (
                f"`{v.column}`",
                v.kind.value,
                "at admission" if v.known is Known.ADMISSION else "**afterwards (outcome)**",
                v.header,
                f"{v.description}{' (minutes)' if v.kind is Kind.MINUTES else ''}",
            )
            for v in VARIABLES
        ],
    )
    peculiarities = "\n".join(f"- {', '.join(p.subjects)}: {p.text}" for p in PECULIARITIES)
    citations = "\n\n".join(f"For {citation.about}:\n\n```bibtex\n{citation.bibtex}\n```" for citation in CITATIONS)
    return f"""# {RELEASE.title}
{chr(10) + _SYNTHETIC if synthetic else ""}
{len(records)} subjects with acute ischaemic stroke: CT, CT angiography and CT perfusion at admission, follow-up
MRI with the final infarct, and clinical variables. One row a subject. Every volume is the release's own file,
byte for byte ([{RELEASE.doi}](https://doi.org/{RELEASE.doi}), {RELEASE.version}), as a `Nifti` feature.

{configs}

## Use

```python
from datasets import load_dataset

subjects = load_dataset("{repo}", split="train", streaming=True)
subject = next(iter(subjects))
subject["ncct"].shape, subject["lesion_mask"].affine, subject["nihss_admission"]
```

Only some columns; the others are not downloaded, but up to 5 MiB beyond each column are, unless
`storage_options={{"hf": {{"block_size": 65536}}}}` is given:

```python
columns = ["{SUBJECT_COLUMN}", "ncct", "lesion_mask"]
pairs = load_dataset("{repo}", split="train", streaming=True, columns=columns)
```

Only one subject; a file is named after its subject:

```python
one = load_dataset("{repo}", data_files={{"train": "{CONFIGS[0].path(first)}"}}, split="train")
```

The volumes decode with `nibabel` (`pip install nibabel`). Use `volume.dataobj` and slice it: `get_fdata()` makes
a float64 copy of the whole volume, many GB for a perfusion series.

## Volumes and their grids

Columns on the grid `{Grid.NCCT}` share shape and affine with `ncct`, up to rounding of the affine. Columns on a
`{Grid.NATIVE}` grid **do not**: their headers differ from the NCCT by millimetres to centimetres. Do not mix
the two without resampling.

{volumes}

The units of the perfusion maps ({maps}) are documented nowhere in the release.

## Clinical variables

A missing value is null. Columns known **afterwards** are outcomes and times of the intervention: used as inputs
they leak what is to be predicted. The same holds for `dwi`, `adc` and `lesion_mask`, which are from follow-up.
Values are the release's, odd ones included.

{clinical}

## Known peculiarities

{peculiarities}

## Licence

[{RELEASE.license_name}]({RELEASE.license_url}): attribution, non-commercial, share alike. What you derive from
this dataset and share carries the same licence.

## Source and citation

Zenodo record [{RELEASE.record}]({RELEASE.url}), {RELEASE.version}, `{RELEASE.archive}`, {RELEASE.size:,} bytes,
md5 `{RELEASE.md5}`. Each shard's Parquet footer holds, under the key `isles_assets`, the path, size and SHA-256 of
every file in it.

{citations}
"""


def _config_size(config: Config, records: Mapping[str, ShardRecord]) -> int:
    return sum(record.files[config.name].size for record in records.values())
