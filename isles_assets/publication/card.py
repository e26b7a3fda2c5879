"""The dataset card: YAML from which the Hub and `load_dataset` infer nothing, and the text for people."""

from collections.abc import Iterable, Mapping
from statistics import median

from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

import isles_assets
from isles_assets.graph.commands import RESTORE
from isles_assets.lib.findings import name_some
from isles_assets.lib.markdown import markdown_table
from isles_assets.products.features import features
from isles_assets.products.preview.facts import FACTS
from isles_assets.products.preview.pictures import PICTURES
from isles_assets.products.schema import (
    ALL_CONFIGS,
    CARD_PICTURE,
    CONFIGS,
    PREVIEW,
    SPLIT,
    SUBJECT_COLUMN,
    Config,
    PreviewConfig,
)
from isles_assets.publication.publication import Contents, Publication
from isles_assets.release.clinical import DICTIONARY, OUTCOME, VARIABLES, WORKBOOKS, Kind, Known
from isles_assets.release.peculiarities import PECULIARITIES
from isles_assets.release.record import CITATIONS, RELEASE
from isles_assets.release.volumes import VOLUMES, Content, Grid

CARD_VERSION = 2
"""To be raised when the same shards and previews are to have another card."""

_SYNTHETIC = """> [!WARNING]
> **SYNTHETIC SAMPLE.** These are computed phantoms and invented clinical values, made to try the pipeline out.
> They are not the ISLES'24 release and show no patient.
"""


def dataset_info(config: Config | PreviewConfig, contents: Contents) -> DatasetInfo:
    """Features, split and sizes (bytes) of `config`, which holds `contents`."""
    splits = SplitDict()
    splits.add(SplitInfo(SPLIT, num_bytes=contents.values, num_examples=contents.rows))
    return DatasetInfo(
        features=features(config),
        config_name=config.name,
        splits=splits,
        download_size=contents.size,
        dataset_size=contents.values,
    )


def render_card(publication: Publication) -> str:
    """The card of `publication`, whose other files it describes, as Markdown with YAML front matter."""
    return f"---\n{_front_matter(publication)}\n---\n\n{_text(publication)}"


def _front_matter(publication: Publication) -> str:
    synthetic, contents = publication.synthetic, publication.contents
    data = DatasetCardData(
        license=RELEASE.license_id,
        pretty_name=f"{'SYNTHETIC SAMPLE of ' if synthetic else ''}{RELEASE.title}",
        task_categories=["image-segmentation"],
        language=["en"],
        tags=["medical", "neuroimaging", "stroke", "ct", "mri", "nifti", *(["synthetic"] if synthetic else [])],
        size_categories=["n<1K"],
    )
    infos = {config.name: dataset_info(config, contents[config.name]) for config in ALL_CONFIGS}
    DatasetInfosDict(infos).to_dataset_card_data(data)
    MetadataConfigs(
        {config.name: {"data_files": [{"split": SPLIT, "path": config.pattern}]} for config in ALL_CONFIGS}
    ).to_dataset_card_data(data)
    return data.to_yaml()


def _text(publication: Publication) -> str:
    repo, contents = publication.repo, publication.contents
    first = min(publication.subjects)
    return f"""# {RELEASE.title}
{chr(10) + _SYNTHETIC if publication.synthetic else ""}
{len(publication.subjects)} subjects with acute ischaemic stroke: CT, CT angiography and CT perfusion at admission,
follow-up MRI with the final infarct, and clinical variables. One row a subject. Every volume is the release's own
file, byte for byte ([{RELEASE.doi}](https://doi.org/{RELEASE.doi}), {RELEASE.version}), as a `Nifti` feature.

![Pictures of one subject]({CARD_PICTURE})

{_table_of_configs(contents)}

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

Only the clinical variables and what is known of the volumes, as a table, without any volume:

```python
table = load_dataset("{repo}", "{PREVIEW.name}", split="train").remove_columns([
    {", ".join(f'"{picture.column}"' for picture in PICTURES)}
]).to_pandas()
```

The volumes decode with `nibabel` (`pip install nibabel`). Use `volume.dataobj` and slice it: `get_fdata()` makes
a float64 copy of the whole volume, many GB for a perfusion series.

Plain `.nii.gz` files under the release's paths, all or some, each verified by its SHA-256, with the command of the
Python package isles-assets that this dataset was made with:

```sh
{RESTORE} {repo} restored --subject {first} --volume ncct lesion_mask
```

Without that tool, a value is the file: `Path(name).write_bytes(row["ncct"]["bytes"])` after
`subjects.decode(False)`.

## What is in it

{_counts(publication)}

## Volumes and their grids

Columns on the grid `{Grid.NCCT}` share shape and affine with `ncct`, up to rounding of the affine. Columns on a
`{Grid.NATIVE}` grid **do not**: their headers differ from the NCCT by millimetres to centimetres. Do not mix
the two without resampling.

{_table_of_volumes()}

The units of the perfusion maps ({", ".join(f"`{v.column}`" for v in VOLUMES if v.content is Content.MAP)}) are
documented nowhere in the release.

## Clinical variables

A missing value is null. Columns known **afterwards** are outcomes and times of the intervention: used as inputs
they leak what is to be predicted. The same holds for {_names_of_follow_up()}, which are from follow-up, and for
the facts about them. Values are the release's, odd ones included.

{_table_of_clinical_variables()}

## Previews

The config `{PREVIEW.name}` is for looking and for tables: pictures are made for people, not for training.

{markdown_table(("column", "picture"), [(f"`{p.column}`", p.description) for p in PICTURES])}

{markdown_table(("column", "type", "fact"), [(f"`{f.column}`", f.type, f.description) for f in FACTS])}

## Known peculiarities

{_peculiarities(publication)}

## Licence

[{RELEASE.license_name}]({RELEASE.license_url}): attribution, non-commercial, share alike. What you derive from
this dataset and share, a subset or a resampled copy included, carries the same licence.

## Source and citation

{_table_of_provenance(publication)}

Each shard's Parquet footer holds, under the key `isles_assets`, the path, size and SHA-256 of every file in it.
Not in this dataset: the {len(WORKBOOKS)} workbooks of each subject, whose values are its clinical columns, and the
dictionary workbook `{DICTIONARY.path}`.

{chr(10).join(f"For {c.about}:{chr(10) * 2}```bibtex{chr(10)}{c.bibtex}{chr(10)}```{chr(10)}" for c in CITATIONS)}"""


def _table_of_configs(contents: Mapping[str, Contents]) -> str:
    return markdown_table(
        ("config", "holds", "rows", "files", "bytes"),
        [
            (f"`{config.name}`", config.description, held.rows, held.files, f"{held.size:,}")
            for config in ALL_CONFIGS
            for held in [contents[config.name]]
        ],
    )


def _table_of_volumes() -> str:
    return markdown_table(
        ("column", "grid", "content", "source file"),
        [(f"`{v.column}`", v.grid.value, v.description, f"`{v.path('<subject>')}`") for v in VOLUMES],
    )


def _table_of_clinical_variables() -> str:
    return markdown_table(
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


def _names_of_follow_up() -> str:
    *names, last = (f"`{v.column}`" for v in VOLUMES if v.session == OUTCOME.session)
    return f"{', '.join(names)} and {last}"


def _peculiarities(publication: Publication) -> str:
    return "\n".join(f"- {', '.join(p.subjects)}: {p.text}" for p in PECULIARITIES)


def _table_of_provenance(publication: Publication) -> str:
    return markdown_table(
        ("", ""),
        [
            ("release", f"Zenodo record [{RELEASE.record}]({RELEASE.url}), {RELEASE.version}, {RELEASE.doi}"),
            ("archive", f"`{RELEASE.archive}`, {RELEASE.size:,} bytes, md5 `{RELEASE.md5}`"),
            ("made with", f"isles-assets {isles_assets.__version__}"),
            ("volumes", f"SHA-256 over path, size and SHA-256 of each: `{publication.sources_digest}`"),
        ],
    )


def _counts(publication: Publication) -> str:
    """What was counted while the volumes were decoded: lesions, empty masks, voxels that are no numbers."""
    facts = {subject: publication.previews[subject].facts for subject in publication.subjects}
    ml = sorted(known["lesion_ml"] for known in facts.values())
    rows = [
        ("subjects", str(len(facts))),
        ("final infarct, mL: median (least to greatest)", f"{median(ml):.1f} ({ml[0]:.1f} to {ml[-1]:.1f})"),
        ("`lesion_mask` is empty", _named(s for s, known in facts.items() if not known["lesion_voxels"])),
        ("`lvo_mask` is empty", _named(s for s, known in facts.items() if known["lvo_empty"])),
        ("`cow_mask` is empty", _named(s for s, known in facts.items() if known["cow_empty"])),
    ]
    for volume in VOLUMES:
        column = f"{volume.column}_non_finite"
        if affected := [s for s, known in facts.items() if known.get(column)]:
            rows.append((f"`{volume.column}` holds NaN or infinite voxels", _named(affected)))
    return markdown_table(("", ""), rows)


def _named(subjects: Iterable[str]) -> str:
    """How many, and which."""
    names = list(subjects)
    return f"{len(names)}: {name_some(names, 20)}" if names else "none"
