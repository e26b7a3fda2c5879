"""The rows of the card's tables, and sentences with numbers in them. Cells are Markdown."""

from collections.abc import Sequence

import isles_assets
from isles_assets.lib.findings import Finding, name_some
from isles_assets.lib.markdown import escaped
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.project import code_url, issues_url
from isles_assets.lib.words import counted
from isles_assets.products.column import grid_of
from isles_assets.products.config import LOOK, MAIN_CONFIG, SPLIT
from isles_assets.products.shard.product import Shard
from isles_assets.publication.publication import Publication
from isles_assets.publication.waivers import Judgement
from isles_assets.release.clinical import Known
from isles_assets.release.problems import problem_of
from isles_assets.release.release import Release

Rows = Sequence[tuple[object, ...]]


def at_a_glance(publication: Publication) -> Rows:
    """Return what readers want to know first: topic, and a line on it."""
    release, page = publication.dataset.release, f"https://huggingface.co/datasets/{publication.repo}/viewer"
    licence = f"[{release.record.license_name}]({release.record.license_url}): {release.record.license_terms}"
    size = sum(held.size for of_config in publication.contents.values() for held in of_config.values())
    rows = [("size", readable_bytes(size)), ("licence", licence)]
    if any(config.has_look for config in publication.dataset.configs):
        pictures = f"[a page of each subject]({page}/{MAIN_CONFIG}/{LOOK}), [each picture and fact]({page}/preview)"
        rows.insert(0, ("pictures", pictures))
    guidance = release.guidance
    if guidance:
        rows += [
            ("made for", guidance.intended),
            ("not for", guidance.not_intended),
            ("not in it", guidance.not_in_it),
            ("contact", f"{guidance.contact}; on the form of this dataset: [isles-assets]({issues_url()})"),
        ]
    return [(topic, " ".join(text.split())) for topic, text in rows]


def inexact_masks(publication: Publication) -> str:
    """Return the sentence on masks whose labels are whole numbers only up to rounding."""
    shards = publication.made.get(Shard.name, {})
    voxels = {subject: [s.voxels for s in sidecar.sources.values()] for subject, sidecar in sorted(shards.items())}
    affected = [subject for subject, counts in voxels.items() if any(c and c.inexact_labels for c in counts)]
    if not affected:
        return "A mask may decode to values such as 0.99999857, of which `== 1` finds none."
    which = f"{len(affected)} of {counted(len(shards), 'subject')} ({name_some(affected)})"
    return f"In {which} a mask decodes to values such as 0.99999857, of which `== 1` finds none."


def label_names(release: Release) -> Rows:
    """Return the column of each mask with named labels, and its labels with their names."""
    return [
        (volume.column, ", ".join(f"{n} {name}" for n, name in zip(volume.labels, volume.label_names, strict=True)))
        for volume in release.volumes
        if volume.label_names
    ]


def splits(publication: Publication) -> Rows:
    """Return a row for each split: config, split, what it holds, rows, files, size."""
    look = "for the viewer: a page of pictures and the clinical variables; volumes are null"
    return [
        (
            f"`{config.name}`",
            f"`{split}`",
            config.description if split == SPLIT else look,
            held.rows,
            held.files,
            readable_bytes(held.size),
        )
        for config in publication.dataset.configs
        for split, held in publication.contents[config.name].items()
    ]


def volumes(release: Release) -> Rows:
    """Return a row for each volume: column, grid, content, path."""
    return [
        (
            f"`{volume.column}`",
            grid_of(release, volume),
            volume.description,
            f"`{volume.path('<subject>')}`",
        )
        for volume in release.volumes
    ]


def variables(publication: Publication) -> Rows:
    """Return a row for each clinical variable: column, when it is known, values, missing values, meaning, header."""
    return [
        (
            f"`{variable.column}`",
            "at admission" if variable.known is Known.ADMISSION else "**afterwards**",
            f"{variable.allowed} {variable.column_unit}".strip(),
            sum(publication.manifest[subject].clinical[variable.column] is None for subject in publication.subjects),
            variable.description,
            variable.header,
        )
        for variable in publication.dataset.release.variables
    ]


def oddities(publication: Publication) -> Rows:
    """Return what the authors say about published subjects that cannot be computed: subjects, and text."""
    return [
        (", ".join(subjects), oddity.text)
        for oddity in publication.dataset.release.oddities
        if (subjects := [subject for subject in oddity.subjects if subject in publication.subjects])
    ]


def odd_findings(judgement: Judgement) -> Rows:
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


def provenance(publication: Publication) -> Rows:
    """Return where the dataset is from: what, and its source."""
    record = publication.dataset.release.record
    return [
        ("release", f"Zenodo record [{record.record}]({record.url}), {record.version}, {record.doi}"),
        ("archive", f"`{record.archive}`, {record.size:,} bytes, md5 `{record.md5}`"),
        ("made with", f"[isles-assets]({code_url()}) {isles_assets.__version__}"),
        ("volumes", f"SHA-256 over path, size and SHA-256 of each: `{publication.sources_digest}`"),
    ]
