"""Values and findings as Dagster shows them: metadata and failures. Products choose the values of their partitions."""

import base64
import mimetypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from isles_assets.doctor.lines import Line, verdict
from isles_assets.graph.commands import render
from isles_assets.hub.rehearsal import Rehearsal
from isles_assets.hub.target import Published
from isles_assets.lib.display import DisplayValues, Link, Markdown, display_size
from isles_assets.lib.files import of_machine
from isles_assets.lib.findings import Finding, Refusal, TransientRefusal, name_some
from isles_assets.lib.markdown import escaped, markdown_table
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.project import issues_url
from isles_assets.lib.secrets import remove_secrets
from isles_assets.pilot.running import Packed
from isles_assets.products.preview.montage import small_montage
from isles_assets.publication.card import text_of_card
from isles_assets.publication.publication import Publication
from isles_assets.publication.waivers import Judgement
from isles_assets.published.clinical_frame import clinical_frame
from isles_assets.reading.nifti import SYNTHETIC_MARK
from isles_assets.reading.tree import Inventory
from isles_assets.reading.workbooks import ClinicalRow
from isles_assets.release.clinical import Known, Variable
from isles_assets.report.report import Report
from isles_assets.settings.setup import Setup
from isles_assets.source.zenodo import PublishedRecord
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.listing import Listing
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN

Metadata = dict[str, Any]
"""Values by name. Dagster shows numbers, texts, paths, lists and dicts according to their type."""

RETRIES = 2
"""Number of further attempts of a step that failed for a reason that may pass."""

_VOLUME = "volume"
"""The type shown for columns of volumes. Their real type, a struct, would take a third of a page."""

_MOST_IN_UI = 200
_PREVIEW_ROWS = 10
_WIDTH = 32
"""Characters of a string in shown code that fit on a page 1,280 pixels wide."""


@contextmanager
def refusals_reported(more: Metadata | None = None) -> Iterator[None]:
    """Turn a `Refusal` into a failure of the step, with its text and a table of its findings.

    Errors of the machine, such as a full disk, become failures too. Dagster stores exceptions with their causes, so
    secrets in addresses are removed from these.

    Args:
        more: Further metadata of the failure.

    Raises:
        Failure: The block refused. Dagster retries the step only if the reason may pass.
        RetryRequested: The server named a time to wait before the next attempt.
    """
    try:
        yield
    except Refusal as refusal:
        remove_secrets(refusal)
        if isinstance(refusal, TransientRefusal) and refusal.pause is not None:
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=refusal.pause) from refusal
        raise _failure(refusal, more or {}) from refusal
    except Exception as error:
        remove_secrets(error)
        if of_machine_error := of_machine(error):
            raise _failure(of_machine_error, more or {}) from error
        raise


def _failure(refusal: Refusal, more: Metadata) -> dg.Failure:
    return dg.Failure(
        refusal.text(render),
        metadata={**more, **of_findings(refusal.findings)},
        allow_retries=isinstance(refusal, TransientRefusal),
    )


_FAULTS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
"""Exceptions that Python raises for mistakes in the code. Another attempt would raise them again."""


@contextmanager
def fail_faults_at_once() -> Iterator[None]:
    """Let a fault of the program fail the step without retries.

    Raises:
        Failure: The block raised one of `_FAULTS`.
    """
    try:
        yield
    except _FAULTS as fault:
        text = f"{type(fault).__name__}: {fault}. This is a fault of isles-assets. Please report it: {issues_url()}"
        raise dg.Failure(text, allow_retries=False) from fault


def metadata(values: DisplayValues) -> Metadata:
    """Return `values` as metadata."""
    return {name: _metadata_value(value) for name, value in values.items()}


def _metadata_value(value: Any) -> Any:
    match value:
        case Markdown():
            return dg.MetadataValue.md(value)
        case Link():
            return dg.MetadataValue.url(value)
        case str():
            return str(value)  # also if it is an enum
        case _:
            return value


def of_settings(effective: DisplayValues) -> Metadata:
    """Return one table with the effective settings. One name keeps them apart from the metadata of runs."""
    return {"in force": _table(("what", "is"), [(name, str(value)) for name, value in effective.items()])}


def of_fact_meanings(meanings: Mapping[str, str]) -> Metadata:
    """Return a table with the meaning of each fact of a product."""
    return {"meaning of facts": _table(("fact", "meaning"), list(meanings.items()))} if meanings else {}


def of_examination(lines: Sequence[Line]) -> Metadata:
    """Return a table of all lines of an examination."""
    rows = [(str(line.topic), str(line.status), line.what, render(line.mend) if line.mend else "") for line in lines]
    return {"lines": _table(("topic", "status", "what", "what to do"), rows), "outcome": verdict(lines)}


def of_pilot_products(pilot: Setup, packed: Packed) -> Metadata:
    """Return what was made of a pilot's subjects, and how long it took."""
    rows = [
        (subject, readable_bytes(size), readable_bytes(packed.product_bytes[subject]))
        for subject, size in packed.source_bytes.items()
    ]
    release = pilot.dataset.release
    return {
        "subjects": ", ".join(release.subjects),
        "left out": len(release.left_out),
        "sizes": _table(("subject", "volumes", "shards and previews"), rows),
        "bytes": sum(packed.product_bytes.values()),
        "seconds": round(sum(packed.seconds.values()), 1),
        "seconds by step": {step: round(seconds, 1) for step, seconds in packed.seconds.items()},
        "data folder": pilot.folder.root,
    }


def of_findings(findings: Sequence[Finding]) -> Metadata:
    """Return the number of findings and a table of the first `_MOST_IN_UI`."""
    return of_judgement(Judgement(stopping=tuple(findings)))


def of_judgement(judgement: Judgement, how_to_waive: str = "") -> Metadata:
    """Return what was looked at, the number of findings by level, a table of the first, and how to waive them."""
    looked_at: Metadata = {"looked at": judgement.looked_at} if judgement.looked_at else {}
    levelled = judgement.levelled
    if not levelled:
        return looked_at
    columns = ("subject", "path", "problem", "mend", "level")
    rows = [
        (finding.subject, finding.path, finding.problem, waived or render(finding.mend), level)
        for finding, level, waived in levelled[:_MOST_IN_UI]
    ]
    table = dg.MetadataValue.table([dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows])
    counts = {"offenders": judgement.stopping, "waived": judgement.waived, "notes": judgement.notes}
    numbers: Metadata = {name: len(some) for name, some in counts.items() if some or name == "offenders"}
    waiving: Metadata = {"how to waive": how_to_waive} if how_to_waive else {}
    return {**looked_at, **numbers, **waiving, "findings": table}


def findings_in(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of the table of findings in the metadata of a check or failure."""
    table = metadata.get("findings")
    return [record.data for record in table.records] if isinstance(table, dg.TableMetadataValue) else []


def of_archive(folder: DataFolder, how: str) -> Metadata:
    """Return metadata of the archive. `how` tells how the file got there."""
    record = folder.release.record
    return {
        **display_size(record.size),
        "archive": folder.archive,
        "how": how,
        "version": record.version,
        "md5": record.md5,
        "release": dg.MetadataValue.url(record.url),
    }


def of_newer_version(newest: PublishedRecord) -> Metadata:
    """Return metadata of a version on Zenodo that is newer than the pinned one."""
    url = dg.MetadataValue.url(newest.url)
    return {"newer version": newest.version, "record": newest.record, "date": newest.date, "url": url}


def of_archive_listing(folder: DataFolder, listing: Listing, table: pa.Table) -> Metadata:
    """Return metadata of the listing, with its origin, or with the reason why there is none."""
    common = {
        **_of_table(folder, folder.listing, table, table.select(["path", "size", "crc32"])),
        "files": len(listing.members),
        "release": dg.MetadataValue.url(folder.release.record.url),
    }
    if listing.why_not:
        return {**common, "not compared": listing.why_not}
    methods = sorted({member.method for member in listing.members.values() if member.method})
    return {
        **common,
        **display_size(sum(member.size for member in listing.members.values())),
        "origin": listing.origin,
        "methods": methods,
        "blocks": len({member.block for member in listing.members.values() if member.block is not None}),
        "files outside the top folder": listing.outside,
    }


def of_raw_tree(setup: Setup, inventory: Inventory, table: pa.Table, compared: str) -> Metadata:
    """Return metadata of the tree. `compared` tells what was compared with the archive's listing."""
    release = setup.dataset.release
    return {
        **_of_table(setup.folder, setup.folder.raw_tree, table, table.select(["path", "size"])),
        **display_size(sum(file.size for file in inventory.values())),
        "subjects": len({release.subject_of(path) for path in inventory}.intersection(release.subjects)),
        "files": len(inventory),
        "tree": setup.tree,
        "source": SYNTHETIC_MARK if setup.uses_sample else setup.origin,
        "compared": compared,
        "release": dg.MetadataValue.url(release.record.url),
    }


def of_clinical_table(folder: DataFolder, rows: Sequence[ClinicalRow], table: pa.Table, compared: str) -> Metadata:
    """Return metadata of the table. `compared` tells what was compared with the archive's listing."""
    frame = clinical_frame(table.to_pylist(), release=folder.release)
    missing = {name: int(count) for name, count in frame.isna().sum().items()}
    preview = pa.Table.from_pandas(frame[[*folder.release.first_look]].reset_index(), preserve_index=False)
    return {
        **_of_table(folder, folder.clinical, table, preview),
        "missing values": {name: count for name, count in missing.items() if count},
        "workbooks without a value": [path for row in rows for path in row.blank],
        "identical rows taken once": [path for row in rows for path in row.repeated],
        "compared": compared,
    }


def of_subject_manifest(folder: DataFolder, rows: Sequence[ManifestRow], table: pa.Table) -> Metadata:
    """Return metadata of the manifest."""
    volumes = [entry for row in rows for entry in row.volumes.values() if entry]
    reference = folder.release.reference.column
    column = table.schema.field(reference)
    fields = [(field.name, str(field.type)) for field in column.type]
    preview = table.select([SUBJECT_COLUMN])
    for name in ("shape", "spacing", "dtype"):
        preview = preview.append_column(f"{reference} {name}", pc.struct_field(table.column(reference), name))
    return {
        **_of_table(folder, folder.manifest, table, preview),
        **display_size(sum(entry.size for entry in volumes)),
        "volumes": len(volumes),
        f"type {_VOLUME}": _table(("field", "type"), fields),
        "unreadable volumes": [entry.path for entry in volumes if entry.fault],
        "volumes with the archive's CRC-32": sum(entry.crc32 is not None for entry in volumes),
        "synthetic subjects": sum(row.synthetic for row in rows),
    }


def of_report(folder: DataFolder, report: Report) -> Metadata:
    """Return metadata of the report: its file and its numbers."""
    return {
        **display_size(folder.report.stat().st_size),
        **of_report_file(folder),
        "subjects": len(report.subjects),
        "findings that stop publication": report.stopping,
        "missing or stale": report.missing_products,
        "waived": report.waived,
        "notes": report.notes,
        "subjects unlike the others": sum(bool(subject.unusual) for subject in report.subjects),
        "synthetic": report.synthetic,
    }


def of_report_file(folder: DataFolder) -> Metadata:
    """Return the path of the report, if there is one."""
    return {"report": folder.report} if folder.report.exists() else {}


def of_publication(publication: Publication) -> Metadata:
    """Return metadata of a publication."""
    pictures = [f"![{path}]({address})" for path, address in _pictures(publication, small=True).items()]
    splits = [
        (config, split, held.rows, held.files, held.size)
        for config, of_config in publication.contents.items()
        for split, held in of_config.items()
    ]
    return {
        **display_size(publication.size),
        "repo": publication.repo,
        "subjects": len(publication.subjects),
        "files": len(publication.files),
        "configs": dg.MetadataValue.md(markdown_table(("config", "split", "rows", "files", "bytes"), splits)),
        "digest": dg.MetadataValue.md(
            f"`{publication.digest[:32]}`  \n`{publication.digest[32:]}`"
        ),  # one line is too long
        "synthetic": publication.synthetic,
        **({"picture": dg.MetadataValue.md("\n\n".join(pictures))} if pictures else {}),
    }


def of_rehearsal(rehearsal: Rehearsal) -> Metadata:
    """Return the changes that publishing would make, and the card that it would publish."""
    publication, changes = rehearsal.publication, rehearsal.changes
    card = text_of_card(publication)
    for path, picture in _pictures(publication).items():
        card = card.replace(f"]({path})", f"]({picture})")
    metadata: Metadata = {
        "would happen": _table(("what", "would be"), rehearsal.rows()),
        "target": rehearsal.page,
        "bytes to send": rehearsal.to_send,
        "card": dg.MetadataValue.md(card),
        "card file": rehearsal.card,
    }
    if changes is not None:
        kinds = {"added": changes.added, "changed": changes.changed, "deleted": changes.removed}
        metadata |= {f"files {kind}": len(files) for kind, files in kinds.items()}
    if rehearsal.foreign:
        metadata["in the way"] = "\n".join(finding.problem for finding in rehearsal.foreign)
    return metadata


def _pictures(publication: Publication, *, small: bool = False) -> dict[str, str]:
    """Return the card's pictures as data URLs, by path. `small` ones are for the history."""
    addresses = {}
    for file in publication.files:
        kind = mimetypes.guess_type(file.path)[0] or ""
        if isinstance(file.content, bytes) and kind.startswith("image/"):
            kind, content = ("image/webp", small_montage(file.content)) if small else (kind, file.content)
            addresses[file.path] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return addresses


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> dg.MarkdownMetadataValue:
    """Return a Markdown table of texts, which are escaped."""
    return dg.MetadataValue.md(markdown_table(header, [[escaped(cell) for cell in row] for row in rows]))


def of_published(published: Published, location: str) -> Metadata:
    """Return metadata of a published revision: its address, how to load it, and its changes."""
    parts = [location[start : start + _WIDTH] for start in range(0, len(location), _WIDTH)]
    repo = "\n".join(f'    "{part}"' for part in parts)  # Python joins strings side by side
    load = f'load_dataset(\n{repo},\n    split="train",\n    streaming=True,\n)'
    metadata: Metadata = {
        "url": dg.MetadataValue.url(published.url) if published.url.startswith("http") else Path(published.url),
        "revision": published.revision,
        "changed": published.changed,
        "load": dg.MetadataValue.md(f"```python\n{load}\n```"),
    }
    if published.tag:
        metadata["tag"] = published.tag
    if published.backup_tag:
        metadata["taken over"] = published.backup_tag
    if published.changes is not None:
        rows = [(kind, len(names), escaped(name_some(names))) for kind, names in published.changes.by_kind().items()]
        metadata["changes"] = dg.MetadataValue.md(markdown_table(("subjects and files", "number", "which"), rows))
        metadata["bytes new or changed"] = sum(file.size for file in published.changes.files)
        metadata["bytes already there"] = sum(file.size for file in published.changes.unchanged)
    return metadata


def _breakable(name: str) -> str:
    """Return `name` with places for line breaks, so that a table of many columns fits on a page."""
    return name.replace("_", "_\u200b")


def _description(variable: Variable) -> str:
    """Return the description of a clinical variable with its unit, and whether it is an outcome."""
    unit = variable.column_unit
    outcome = "**Outcome**, known only afterwards. " if variable.known is Known.OUTCOME else ""
    return f"{outcome}{variable.description}{f' [{unit}]' if unit else ''}"


def _of_table(folder: DataFolder, path: Path, table: pa.Table, preview: pa.Table) -> Metadata:
    """Return row count and schema of `table`, its file, and the first rows of `preview`."""
    descriptions = {volume.column: volume.description for volume in folder.release.volumes}
    descriptions |= {variable.column: _description(variable) for variable in folder.release.variables}
    columns = [
        dg.TableColumn(
            field.name,
            _VOLUME if field.name in folder.release.by_column and pa.types.is_struct(field.type) else str(field.type),
            descriptions.get(field.name),
        )
        for field in table.schema
    ]
    rows = [
        [escaped(cell) if isinstance(cell, str) else cell for cell in row]
        for row in zip(*preview.slice(0, _PREVIEW_ROWS).to_pydict().values(), strict=True)
    ]
    return {
        "dagster/row_count": table.num_rows,
        "file": path,
        "preview": dg.MetadataValue.md(markdown_table([_breakable(name) for name in preview.column_names], rows)),
        "dagster/column_schema": dg.TableSchema(columns),
    }
