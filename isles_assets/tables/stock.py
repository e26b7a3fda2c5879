"""Taking stock of a tree: the clinical table, and the manifest, from its files and the tables before them."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from isles_assets.reading.workbooks import ClinicalRow, read_clinical_rows
from isles_assets.tables import clinical, manifest
from isles_assets.tables.digests import read_digests, write_digests
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import read_inventory
from isles_assets.tables.listing import Listing, read_listing, workbook_findings
from isles_assets.tables.storage import write_table


def take_clinical_stock(folder: DataFolder, tree: Path) -> tuple[list[ClinicalRow], pa.Table, Listing]:
    """Read the workbooks in the stored inventory of `tree`, and store the clinical table and its findings.

    Returns:
        The rows, the table, and the listing that the workbooks were compared with.

    Raises:
        Refusal: The inventory cannot be read, or a table cannot be written.
    """
    release = folder.release
    inventory = read_inventory(folder)
    readable = {path for path, file in inventory.items() if not file.fault}
    with_workbooks = [s for s in release.subjects if any(w.path(s) in readable for w in release.workbooks)]
    rows = read_clinical_rows(release, tree, with_workbooks)
    table = clinical.clinical_table(release, rows)
    listing = read_listing(folder, tree)
    findings = workbook_findings(release, tree, rows, listing, extracted=folder.has_extracted(tree))
    clinical.write_clinical_findings(folder, rows, findings)
    write_table(folder.clinical, table)
    return rows, table, listing


def take_manifest_stock(
    folder: DataFolder,
    tree: Path,
    *,
    full: bool = False,
    workers: int = 1,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[list[manifest.ManifestRow], pa.Table]:
    """Survey the volumes of `tree`, and store the manifest and the digests.

    Args:
        full: Read every volume to its end.
        workers: Number of threads.

    Returns:
        The rows and the table.

    Raises:
        Refusal: A table before it cannot be read, or a table cannot be written.
    """
    digests = read_digests(folder, ignore_damage=full)
    rows = manifest.survey(
        folder.release,
        tree,
        read_inventory(folder),
        clinical.clinical_values(clinical.read_clinical_table(folder, strict=True)),
        manifest.read_previous_manifest(folder),
        digests=digests,
        crc32s=read_listing(folder).crc32s,
        full=full,
        workers=workers,
        log=log,
    )
    write_digests(folder, digests)
    table = manifest.manifest_table(folder.release, rows)
    write_table(folder.manifest, table)
    return rows, table
