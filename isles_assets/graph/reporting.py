"""How facts and findings look in Dagster: metadata and failures."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from isles_assets.graph.resources import Settings
from isles_assets.hub.target import Published
from isles_assets.lib.findings import Finding, Refusal, fatal, name_some
from isles_assets.lib.markdown import markdown_table
from isles_assets.lib.progress import readable_bytes
from isles_assets.products.preview.facts import FACTS
from isles_assets.products.preview.preview import PreviewRecord, read_montage
from isles_assets.products.schema import CONFIGS, SUBJECT_COLUMN
from isles_assets.products.shard import ShardRecord
from isles_assets.products.sources import Voxels
from isles_assets.publication.publication import Publication
from isles_assets.reading.tree import Inventory
from isles_assets.reading.workbooks import ClinicalRow
from isles_assets.release.clinical import VARIABLES
from isles_assets.release.volumes import BY_COLUMN, VOLUMES, Content
from isles_assets.sample import SYNTHETIC_MARK
from isles_assets.source.zenodo import ZenodoRecord
from isles_assets.tables.manifest import SubjectManifest

Metadata = dict[str, dg.MetadataValue]

_DESCRIPTIONS = {v.column: v.description for v in VOLUMES} | {v.column: v.description for v in VARIABLES}
_MOST_IN_UI = 200
_PREVIEW_ROWS = 10
_CLINICAL_PREVIEW = (SUBJECT_COLUMN, "center", "sex", "age", "nihss_admission", "onset_to_door_min", "mrs_3month")


@contextmanager
def refusals_reported() -> Iterator[None]:
    """Let a `Refusal` fail the step with its words, and its findings as a table, and no retry."""
    try:
        yield
    except Refusal as refusal:
        raise dg.Failure(str(refusal), metadata=of_findings(refusal.findings), allow_retries=False) from refusal


def of_findings(findings: Sequence[Finding]) -> Metadata:
    """Number of offenders, and a table of all findings, at most 200 lines."""
    if not findings:
        return {}
    records = [
        dg.TableRecord(
            {
                "subject": finding.subject,
                "path": finding.path,
                "problem": finding.problem,
                "mend": finding.mend,
                "level": "error" if finding.fatal else "note",
            }
        )
        for finding in findings[:_MOST_IN_UI]
    ]
    return {"offenders": dg.MetadataValue.int(len(fatal(findings))), "findings": dg.MetadataValue.table(records)}


def of_archive(settings: Settings, how: str) -> Metadata:
    """Which archive it is, where, and how it came there."""
    record = settings.release
    return {
        **_of_bytes(record.size),
        "archive": dg.MetadataValue.path(settings.places.archive),
        "how": dg.MetadataValue.text(how),
        "version": dg.MetadataValue.text(record.version),
        "md5": dg.MetadataValue.text(record.md5),
        "release": dg.MetadataValue.url(record.url),
    }


def of_no_archive(settings: Settings) -> Metadata:
    """Why there is none."""
    return {"how": dg.MetadataValue.text(f"not needed: the tree comes from {settings.origin}, {settings.tree}")}


def of_newer_version(newest: ZenodoRecord) -> Metadata:
    """What Zenodo has that is newer than what is pinned."""
    return {
        "newer version": dg.MetadataValue.text(newest.version),
        "record": dg.MetadataValue.text(newest.record),
        "date": dg.MetadataValue.text(newest.date),
        "url": dg.MetadataValue.url(newest.url),
    }


def of_raw_tree(settings: Settings, inventory: Inventory, table: pa.Table) -> Metadata:
    """Counts and bytes of the tree, and where it lies."""
    return {
        **_of_table(settings.folder.raw_tree, table, table.select(["path", "size"])),
        **_of_bytes(sum(entry.size for entry in inventory.values())),
        "subjects": dg.MetadataValue.int(len({entry.subject for entry in inventory.values()} - {""})),
        "files": dg.MetadataValue.int(len(inventory)),
        "tree": dg.MetadataValue.path(settings.tree),
        "source": dg.MetadataValue.text(SYNTHETIC_MARK if settings.uses_sample else settings.origin),
        "release": dg.MetadataValue.url(settings.release.url),
    }


def of_clinical_table(settings: Settings, rows: Sequence[ClinicalRow], table: pa.Table) -> Metadata:
    """The table, what is missing in it, and the workbooks that hold a row more than once."""
    missing = {name: table.column(name).null_count for name in table.column_names}
    return {
        **_of_table(settings.folder.clinical, table, table.select(_CLINICAL_PREVIEW)),
        "missing values": dg.MetadataValue.json({name: count for name, count in missing.items() if count}),
        "workbooks without a value": dg.MetadataValue.json([path for row in rows for path in row.blank]),
        "identical rows taken once": dg.MetadataValue.json([path for row in rows for path in row.repeated]),
    }


def of_subject_manifest(settings: Settings, rows: Sequence[SubjectManifest], table: pa.Table) -> Metadata:
    """The table, counts and bytes of the volumes, and what cannot be read."""
    volumes = [facts for row in rows for facts in row.volumes.values() if facts]
    ncct = pa.table({SUBJECT_COLUMN: table.column(SUBJECT_COLUMN)})
    for fact in ("shape", "spacing", "dtype"):
        ncct = ncct.append_column(f"ncct {fact}", pc.struct_field(table.column("ncct"), fact))
    return {
        **_of_table(settings.folder.manifest, table, ncct),
        **_of_bytes(sum(facts.size for facts in volumes)),
        "volumes": dg.MetadataValue.int(len(volumes)),
        "unreadable volumes": dg.MetadataValue.json([facts.path for facts in volumes if facts.fault]),
        "synthetic subjects": dg.MetadataValue.int(sum(row.synthetic for row in rows)),
    }


def of_shard(settings: Settings, subject: SubjectManifest, record: ShardRecord, *, written: bool) -> Metadata:
    """The facts of one subject's shards: files, bytes, what the masks mark, each source's digest."""
    ncct = subject.volumes["ncct"]
    assert ncct and ncct.shape and ncct.spacing
    sources = markdown_table(
        ("column", "bytes", "non-finite voxels", "sha256"),
        [
            (column, s.size, s.voxels.non_finite if s.voxels else "not decoded", f"`{s.sha256}`")
            for column, s in record.sources.items()
        ],
    )
    return {
        **_of_bytes(record.size),
        **{f"file {c.name}": dg.MetadataValue.path(settings.folder.shard(c, record.subject)) for c in CONFIGS},
        "written": dg.MetadataValue.bool(written),
        "synthetic": dg.MetadataValue.bool(record.synthetic),
        "ncct grid": dg.MetadataValue.text(
            f"{'x'.join(map(str, ncct.shape))} voxels of {'x'.join(f'{mm:g}' for mm in ncct.spacing)} mm"
        ),
        "decode check": dg.MetadataValue.text("passed" if record.decoded else "not done"),
        **_of_voxels({column: s.voxels for column, s in record.sources.items() if s.voxels}),
        "sources": dg.MetadataValue.md(sources),
    }


def of_preview(settings: Settings, subject: SubjectManifest, record: PreviewRecord, *, written: bool) -> Metadata:
    """The pictures of one subject as a person would look at them, and the facts beside them."""
    montage = base64.b64encode(read_montage(settings.folder, record.subject)).decode()
    facts = markdown_table(
        ("fact", "value", "meaning"), [(f.column, record.facts[f.column], f.description) for f in FACTS]
    )
    return {
        **_of_bytes(record.size),
        "pictures": dg.MetadataValue.md(f"![{record.subject}](data:image/jpeg;base64,{montage})"),
        "facts": dg.MetadataValue.md(facts),
        "file": dg.MetadataValue.path(settings.folder.preview(record.subject)),
        "written": dg.MetadataValue.bool(written),
        "synthetic": dg.MetadataValue.bool(record.synthetic),
    }


def _of_voxels(voxels: Mapping[str, Voxels]) -> Metadata:
    masks = {c: seen for c, seen in voxels.items() if BY_COLUMN[c].content in (Content.MASK, Content.LABELS)}
    return {
        **{f"{column} voxels": dg.MetadataValue.int(seen.marked) for column, seen in masks.items()},
        **{f"{column} ml": dg.MetadataValue.float(seen.marked_ml) for column, seen in masks.items()},
        **{f"{column} labels": dg.MetadataValue.json(seen.labels) for column, seen in masks.items()},
        "non-finite voxels": dg.MetadataValue.int(sum(seen.non_finite for seen in voxels.values())),
    }


def of_publication(publication: Publication) -> Metadata:
    """What is, or would be, published."""
    configs = markdown_table(
        ("config", "rows", "files", "bytes"),
        [(name, contents.rows, contents.files, contents.size) for name, contents in publication.contents.items()],
    )
    return {
        **_of_bytes(publication.size),
        "repo": dg.MetadataValue.text(publication.repo),
        "subjects": dg.MetadataValue.int(len(publication.subjects)),
        "files": dg.MetadataValue.int(len(publication.files)),
        "configs": dg.MetadataValue.md(configs),
        "digest": dg.MetadataValue.text(publication.digest),
        "synthetic": dg.MetadataValue.bool(publication.synthetic),
    }


def of_published(published: Published, location: str) -> Metadata:
    """Where it is published, how to load it, and what changed since the revision before."""
    is_link = published.url.startswith("http")
    load = f'load_dataset("{location}", split="train", streaming=True)'
    facts: Metadata = {
        "url": dg.MetadataValue.url(published.url) if is_link else dg.MetadataValue.path(published.url),
        "revision": dg.MetadataValue.text(published.revision),
        "changed": dg.MetadataValue.bool(published.changed),
        "load": dg.MetadataValue.md(f"```python\n{load}\n```"),
    }
    if published.tag:
        facts["tag"] = dg.MetadataValue.text(published.tag)
    if published.changes is not None:
        rows = [(kind, len(names), name_some(names)) for kind, names in published.changes.by_kind().items()]
        facts["changes"] = dg.MetadataValue.md(markdown_table(("subjects and files", "number", "which"), rows))
        facts["bytes new or changed"] = dg.MetadataValue.int(sum(file.size for file in published.changes.files))
        facts["bytes already there"] = dg.MetadataValue.int(sum(file.size for file in published.changes.unchanged))
    return facts


def _of_table(path: Path, table: pa.Table, preview: pa.Table) -> Metadata:
    """Row count, column schema, the file, and the first rows of `preview`."""
    columns = [dg.TableColumn(field.name, str(field.type), _DESCRIPTIONS.get(field.name)) for field in table.schema]
    rows = zip(*preview.slice(0, _PREVIEW_ROWS).to_pydict().values(), strict=True)
    return {
        "dagster/row_count": dg.MetadataValue.int(table.num_rows),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns)),
        "file": dg.MetadataValue.path(path),
        "preview": dg.MetadataValue.md(markdown_table(preview.column_names, rows)),
    }


def _of_bytes(size: int) -> Metadata:
    return {"bytes": dg.MetadataValue.int(size), "size": dg.MetadataValue.text(readable_bytes(size))}
