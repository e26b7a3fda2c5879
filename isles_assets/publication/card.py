"""The dataset card: explicit metadata as YAML, so that neither Hub nor `load_dataset` has to infer anything, and text.

The text is in `card.md.j2`; what it is filled with is computed here.
"""

import re
from collections.abc import Mapping, Sequence

from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

import isles_assets
from isles_assets.lib.findings import Finding, name_some
from isles_assets.lib.markdown import escaped, markdown_table
from isles_assets.lib.project import code_url
from isles_assets.products.column import grid_of
from isles_assets.products.config import COLUMNS, SPLIT, VOLUMES, WAIVERS, Config
from isles_assets.products.features import features
from isles_assets.publication.publication import Contents, Publication
from isles_assets.publication.waivers import Judgement
from isles_assets.release.clinical import Kind, Known
from isles_assets.release.problems import problem_of
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content
from isles_assets.tables.storage import SUBJECT_COLUMN

CODE_VERSION = 6
"""Raise it when the same products are to get another card or other metadata tables."""

Rows = Sequence[tuple[object, ...]]


def dataset_info(config: Config, contents: Mapping[str, Contents]) -> DatasetInfo:
    """Return features, splits and sizes in bytes of `config`, which holds `contents` by split."""
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
    MetadataConfigs({config.name: {"data_files": data_files(config)} for config in configs}).to_dataset_card_data(data)
    return data.to_yaml()


def text_of_card(publication: Publication) -> str:
    """Return the card without its front matter, as people read it."""
    environment = Environment(
        loader=PackageLoader("isles_assets.publication", "."),
        autoescape=False,  # noqa: S701 - it is Markdown, of which nothing comes from outside
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    release, made = publication.dataset.release, publication.made
    parts = [product.card_parts(publication.repo, made[product.name]) for product in publication.dataset.products]
    whole, other, value = release.examples
    columns = [f"`{volume.column}`" for volume in release.volumes if release.known(volume) is Known.OUTCOME]
    text = environment.get_template("card.md.j2").render(
        table=markdown_table,
        publication=publication,
        release=release,
        record=release.record,
        repo=publication.repo,
        code=code_url(),
        parts=parts,
        subject_column=SUBJECT_COLUMN,
        columns=COLUMNS,
        volume_list=VOLUMES,
        waivers=WAIVERS,
        first=min(publication.subjects),
        whole=whole,
        other=other,
        value=value,
        configs=_configs(publication),
        counts=[("subjects", len(publication.subjects)), *(row for part in parts for row in part.counts)],
        volumes=_volumes(release),
        maps=", ".join(f"`{volume.column}`" for volume in release.volumes if volume.content is Content.MAP),
        variables=_variables(release),
        oddities=_oddities(publication),
        odd=_odd(publication.judgement),
        follow_up=" and ".join(part for part in (", ".join(columns[:-1]), *columns[-1:]) if part),
        provenance=_provenance(publication),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"  # a line that is only a tag leaves an empty one


def _configs(publication: Publication) -> Rows:
    return [
        (f"`{config.name}`", config.description, held.rows, held.files, f"{held.size:,}")
        for config in publication.dataset.configs
        for held in [publication.contents[config.name][SPLIT]]
    ]


def _volumes(release: Release) -> Rows:
    return [
        (
            f"`{volume.column}`",
            grid_of(release, volume),
            volume.description,
            f"`{volume.path('<subject>')}`",
        )
        for volume in release.volumes
    ]


def _variables(release: Release) -> Rows:
    return [
        (
            f"`{variable.column}`",
            variable.kind.value,
            "at admission" if variable.known is Known.ADMISSION else "**afterwards (outcome)**",
            variable.header,
            f"{variable.description}{' (minutes)' if variable.kind is Kind.MINUTES else ''}",
        )
        for variable in release.variables
    ]


def _oddities(publication: Publication) -> Rows:
    """Return what the authors say about published subjects that cannot be computed: subjects, and text."""
    return [
        (", ".join(subjects), oddity.text)
        for oddity in publication.dataset.release.oddities
        if (subjects := [subject for subject in oddity.subjects if subject in publication.subjects])
    ]


def _odd(judgement: Judgement) -> Rows:
    """Return a row for each kind of problem and waiver: number, subjects, and why it is published.

    A row holds no text of the release, and only the reason of a waiver.
    """
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding, reason in [
        *((finding, waiver.reason) for finding, waiver in judgement.waived),
        *((finding, "") for finding in judgement.notes),
    ]:
        kinds.setdefault((finding.code, reason), []).append(finding)
    return [
        (problem_of(code).meaning, len(found), name_some(sorted({f.subject for f in found} - {""})), escaped(reason))
        for (code, reason), found in kinds.items()
    ]


def _provenance(publication: Publication) -> Rows:
    record = publication.dataset.release.record
    return [
        ("release", f"Zenodo record [{record.record}]({record.url}), {record.version}, {record.doi}"),
        ("archive", f"`{record.archive}`, {record.size:,} bytes, md5 `{record.md5}`"),
        ("made with", f"[isles-assets]({code_url()}) {isles_assets.__version__}"),
        ("volumes", f"SHA-256 over path, size and SHA-256 of each: `{publication.sources_digest}`"),
    ]
