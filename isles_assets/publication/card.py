"""The dataset card: YAML from which the Hub and `load_dataset` infer nothing, and the text for people."""

from collections.abc import Mapping, Sequence

from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

import isles_assets
from isles_assets.lib.markdown import markdown_table
from isles_assets.products.config import SPLIT, Config
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import features
from isles_assets.products.product import CardParts
from isles_assets.publication.publication import Contents, Publication
from isles_assets.release.clinical import Kind, Known
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid
from isles_assets.tables.storage import SUBJECT_COLUMN

CODE_VERSION = 3
"""To be raised when the same products are to have another card."""

RESTORE = "isles24-restore"

_SYNTHETIC = """> [!WARNING]
> **SYNTHETIC SAMPLE.** These are computed phantoms and invented clinical values, made to try the pipeline out.
> They are not the {label} release and show no patient.
"""


def dataset_info(config: Config, contents: Contents) -> DatasetInfo:
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
    synthetic, contents, configs = publication.synthetic, publication.contents, publication.dataset.configs
    release = publication.dataset.release
    data = DatasetCardData(
        license=release.record.license_id,
        pretty_name=f"{'SYNTHETIC SAMPLE of ' if synthetic else ''}{release.record.title}",
        task_categories=list(release.task_categories),
        language=["en"],
        tags=[*release.tags, *(["synthetic"] if synthetic else [])],
        size_categories=["n<1K"],
    )
    DatasetInfosDict({c.name: dataset_info(c, contents[c.name]) for c in configs}).to_dataset_card_data(data)
    MetadataConfigs(
        {config.name: {"data_files": [{"split": SPLIT, "path": config.pattern}]} for config in configs}
    ).to_dataset_card_data(data)
    return data.to_yaml()


def _text(publication: Publication) -> str:
    repo, release, made = publication.repo, publication.dataset.release, publication.made
    record = release.record
    parts = [product.card_parts(repo, made[product.name]) for product in publication.dataset.products]
    return _paragraphs(
        f"# {record.title}",
        _SYNTHETIC.format(label=release.label) if publication.synthetic else "",
        f"""{len(publication.subjects)} {release.about}. One row a subject. Every volume is the release's own
file, byte for byte ([{record.doi}](https://doi.org/{record.doi}), {record.version}), as a `Nifti` feature.""",
        *(part.picture for part in parts),
        _table_of_configs(publication.dataset, publication.contents),
        _use(publication, parts),
        "## What is in it",
        _counts(publication, parts),
        _volumes(release),
        _clinical_variables(release),
        *(part.section for part in parts),
        _oddities(release),
        f"""## Licence

[{record.license_name}]({record.license_url}): {record.license_terms}.""",
        f"""## Source and citation

{_table_of_provenance(publication)}

Each shard's Parquet footer holds, under the key `isles_assets`, the path, size and SHA-256 of every file in it.
{_left_out(release)}""",
        *(f"For {work.about}:\n\n```bibtex\n{work.bibtex}\n```" for work in release.citations),
    )


def _paragraphs(*paragraphs: str) -> str:
    return "\n\n".join(paragraph.strip("\n") for paragraph in paragraphs if paragraph) + "\n"


def _use(publication: Publication, parts: Sequence[CardParts]) -> str:
    repo, release, first = publication.repo, publication.dataset.release, min(publication.subjects)
    whole, other, value = release.examples
    return _paragraphs(
        "## Use",
        f"""```python
from datasets import load_dataset

subjects = load_dataset("{repo}", split="train", streaming=True)
subject = next(iter(subjects))
subject["{whole}"].shape, subject["{other}"].affine, subject["{value}"]
```""",
        f"""Only some columns; the others are not downloaded, but up to 5 MiB beyond each column are, unless
`storage_options={{"hf": {{"block_size": 65536}}}}` is given:

```python
columns = ["{SUBJECT_COLUMN}", "{whole}", "{other}"]
pairs = load_dataset("{repo}", split="train", streaming=True, columns=columns)
```""",
        f"""Only one subject; a file is named after its subject:

```python
one = load_dataset("{repo}", data_files={{"train": "{publication.dataset.configs[0].path(first)}"}}, split="train")
```""",
        *(part.example for part in parts),
        f"""\
The volumes decode with `nibabel` (`pip install nibabel`). Use `volume.dataobj` and slice it: `get_fdata()` makes
a float64 copy of the whole volume, many GB for a perfusion series.

Plain `.nii.gz` files under the release's paths, all or some, each verified by its SHA-256, with the command of the
Python package isles-assets that this dataset was made with:

```sh
{RESTORE} {repo} restored --subject {first} --volume {whole} {other}
```

Without that tool, a value is the file: `Path(name).write_bytes(row["{whole}"]["bytes"])` after
`subjects.decode(False)`.""",
    )


def _volumes(release: Release) -> str:
    maps = ", ".join(f"`{volume.column}`" for volume in release.volumes if volume.content is Content.MAP)
    reference, common = release.reference.column, release.common_grid
    return _paragraphs(
        "## Volumes and their grids",
        f"""\
Columns on the grid `{common}` share shape and affine with `{reference}`, up to rounding of the affine. Columns on a
`{Grid.NATIVE}` grid **do not**: their headers differ from the {common} by millimetres to centimetres. Do not mix
the two without resampling.""",
        markdown_table(
            ("column", "grid", "content", "source file"),
            [
                (f"`{v.column}`", common if v.grid is Grid.COMMON else v.grid.value, v.description, f"`{path}`")
                for v in release.volumes
                for path in [v.path("<subject>")]
            ],
        ),
        maps and f"The units of the perfusion maps ({maps}) are\ndocumented nowhere in the release.",
    )


def _clinical_variables(release: Release) -> str:
    columns = [f"`{volume.column}`" for volume in release.volumes if volume.session != release.sessions[0]]
    follow_up = f"{', '.join(columns[:-1])} and {columns[-1]}" if len(columns) > 1 else "".join(columns)
    also = f" The same holds for {follow_up}, which are from follow-up, and for\nthe facts about them."
    return _paragraphs(
        "## Clinical variables",
        f"""\
A missing value is null. Columns known **afterwards** are outcomes and times of the intervention: used as inputs
they leak what is to be predicted.{also if columns else ""} Values are the release's, odd ones included.""",
        markdown_table(
            ("column", "type", "known", "in the release's workbooks", "meaning"),
            [
                (
                    f"`{v.column}`",
                    v.kind.value,
                    "at admission" if v.known is Known.ADMISSION else "**afterwards (outcome)**",
                    v.header,
                    f"{v.description}{' (minutes)' if v.kind is Kind.MINUTES else ''}",
                )
                for v in release.variables
            ],
        ),
    )


def _oddities(release: Release) -> str:
    lines = [f"- {', '.join(oddity.subjects)}: {oddity.text}" for oddity in release.oddities]
    return "\n".join(["## Known peculiarities", "", *lines]) if lines else ""


def _left_out(release: Release) -> str:
    dictionary = f", and the\ndictionary workbook `{release.dictionary.path}`" if release.dictionary else ""
    number = len(release.workbooks)
    what = f"the {number} workbooks" if number > 1 else "the workbook"
    return f"Not in this dataset: {what} of each subject, whose values are its clinical columns{dictionary}."


def _table_of_configs(dataset: Dataset, contents: Mapping[str, Contents]) -> str:
    return markdown_table(
        ("config", "holds", "rows", "files", "bytes"),
        [
            (f"`{config.name}`", config.description, held.rows, held.files, f"{held.size:,}")
            for config in dataset.configs
            for held in [contents[config.name]]
        ],
    )


def _table_of_provenance(publication: Publication) -> str:
    record = publication.dataset.release.record
    return markdown_table(
        ("", ""),
        [
            ("release", f"Zenodo record [{record.record}]({record.url}), {record.version}, {record.doi}"),
            ("archive", f"`{record.archive}`, {record.size:,} bytes, md5 `{record.md5}`"),
            ("made with", f"isles-assets {isles_assets.__version__}"),
            ("volumes", f"SHA-256 over path, size and SHA-256 of each: `{publication.sources_digest}`"),
        ],
    )


def _counts(publication: Publication, parts: Sequence[CardParts]) -> str:
    rows = [("subjects", str(len(publication.subjects))), *(row for part in parts for row in part.counts)]
    return markdown_table(("", ""), rows)
