"""The dataset card: explicit metadata as YAML, so that neither Hub nor `load_dataset` has to infer anything, and text.

The text is in `card.md.j2`; what it is filled with is computed here.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from huggingface_hub import DatasetCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from isles_assets.lib.markdown import markdown_table
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.project import code_url
from isles_assets.products.config import COLUMNS, CROISSANT, MAIN_CONFIG, VOLUMES, WAIVERS, Config
from isles_assets.products.features import features
from isles_assets.publication import card_tables as tables
from isles_assets.publication.publication import Contents, Publication
from isles_assets.publication.summary import summary_by_centre
from isles_assets.release.clinical import Known
from isles_assets.release.volumes import Content, Grid
from isles_assets.tables.storage import SUBJECT_COLUMN

if TYPE_CHECKING:
    from datasets.info import DatasetInfo

CODE_VERSION = 6
"""Raise it when the same products are to get another card or other metadata tables."""

LOWEST_DATASETS = "4.4.0"
"""The lowest version of `datasets` that reads the dataset as the card says. It is the first one with `Nifti`."""


def dataset_info(config: Config, contents: Mapping[str, Contents]) -> "DatasetInfo":
    """Return features, splits and sizes in bytes of `config`, which holds `contents` by split."""
    from datasets.info import DatasetInfo
    from datasets.splits import SplitDict, SplitInfo

    splits = SplitDict()
    for split, held in contents.items():
        splits.add(SplitInfo(split, num_bytes=held.values, num_examples=held.rows))
    return DatasetInfo(
        features=features(config),
        config_name=config.name,
        splits=splits,
        download_size=sum(held.size for held in contents.values()),
        dataset_size=sum(held.values for held in contents.values()),
    )


def data_files(config: Config) -> list[dict[str, str]]:
    """Return the files of each split of `config`, as the card's YAML names them."""
    return [{"split": split, "path": pattern} for split, pattern in config.splits.items()]


def render_card(publication: Publication) -> str:
    """Return the card of `publication` as Markdown with YAML front matter. It describes all other files."""
    return f"---\n{_front_matter(publication)}\n---\n\n{text_of_card(publication)}"


def _front_matter(publication: Publication) -> str:
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    synthetic, contents, configs = publication.synthetic, publication.contents, publication.dataset.configs
    release = publication.dataset.release
    data = DatasetCardData(
        license=release.record.license_id,
        pretty_name=f"{'PILOT of ' * release.is_part}{'SYNTHETIC SAMPLE of ' * synthetic}{release.record.title}",
        task_categories=list(release.task_categories),
        language=["en"],
        tags=[*release.tags, *(["synthetic"] if synthetic else [])],
        size_categories=["n<1K"],
    )
    DatasetInfosDict({c.name: dataset_info(c, contents[c.name]) for c in configs}).to_dataset_card_data(data)
    MetadataConfigs({config.name: {"data_files": data_files(config)} for config in configs}).to_dataset_card_data(data)
    return data.to_yaml()


@cache
def _environment() -> Environment:
    """Return the environment of the template, which compiles it once."""
    return Environment(
        loader=PackageLoader("isles_assets.publication", "."),
        autoescape=False,  # noqa: S701 - it is Markdown, of which nothing comes from outside
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )


def text_of_card(publication: Publication) -> str:
    """Return the card without its front matter, as people read it."""
    release, made = publication.dataset.release, publication.made
    parts = [
        product.card_parts(publication.repo, made[product.name], publication.manifest)
        for product in publication.dataset.products
    ]
    whole, other = release.examples
    summary_header, summary = summary_by_centre(publication)
    columns = [f"`{volume.column}`" for volume in release.volumes if release.known(volume) is Known.OUTCOME]
    text = (
        _environment()
        .get_template("card.md.j2")
        .render(
            table=markdown_table,
            publication=publication,
            release=release,
            record=release.record,
            repo=publication.repo,
            code=code_url(),
            parts=parts,
            subject_column=SUBJECT_COLUMN,
            columns_table=COLUMNS,
            volumes_table=VOLUMES,
            waivers_table=WAIVERS,
            croissant=CROISSANT,
            lowest_datasets=LOWEST_DATASETS,
            first=min(publication.subjects),
            whole=whole,
            other=other,
            other_is_mask=release.by_column[other].content.is_mask if other in release.by_column else False,
            masks=[volume for volume in release.volumes if volume.content.is_mask],
            inexact=tables.inexact_masks(publication),
            glance=tables.at_a_glance(publication),
            splits=tables.splits(publication),
            twice=readable_bytes(2 * sum(held.size for held in publication.contents[MAIN_CONFIG].values())),
            summary_header=summary_header,
            summary=summary,
            counts=[row for part in parts for row in part.counts],
            native=next((volume.column for volume in release.volumes if volume.grid is Grid.NATIVE), ""),
            labels=tables.label_names(release),
            volumes=tables.volumes(release),
            maps=", ".join(f"`{volume.column}`" for volume in release.volumes if volume.content is Content.MAP),
            variables=tables.variables(publication),
            oddities=tables.oddities(publication),
            odd=tables.odd_findings(publication.judgement),
            follow_up=" and ".join(part for part in (", ".join(columns[:-1]), *columns[-1:]) if part),
            provenance=tables.provenance(publication),
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"  # a line that is only a tag leaves an empty one
