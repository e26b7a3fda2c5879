"""Volumes and workbooks to write into a tree."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import openpyxl

from isles_assets.reading import nifti
from isles_assets.release.clinical import Workbook
from isles_assets.release.volumes import Content
from isles_assets_tests.isles24 import ISLES24
from isles_assets_tests.project import replace


def volume(voxels: Any, affine: Any = None, *, endianness: str = "<", **fields: Any) -> nib.Nifti1Image:
    """An image that stores `voxels` as they are; `fields` are set in its header."""
    header = nib.Nifti1Header(endianness=endianness)
    header.set_data_dtype(np.asarray(voxels).dtype)
    image = nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine, header)
    for name, value in fields.items():
        image.header[name] = value
    return image


def write_volume(path: Path, image: nib.Nifti1Image) -> Path:
    replace(path, gzip.compress(image.to_bytes(), 1))
    return path


def image_of(path: Path) -> nib.Nifti1Image:
    """The image in a `.nii.gz` file, in memory."""
    return nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))


def inspect(path: Path, content: Content) -> nifti.Inspection:
    """What decoding the file at `path` shows."""
    with nifti.DigestingReader(path) as source:
        return nifti.inspect(source, content)


def workbook(*sheets: Sequence[Sequence[Any]], formats: Mapping[str, str] | None = None) -> bytes:
    """An xlsx of `sheets`, each a list of rows with the header first; `formats` gives columns a number format."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
        for name, number_format in (formats or {}).items():
            for line in range(2, len(rows) + 1):
                sheet.cell(line, rows[0].index(name) + 1).number_format = number_format
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def headers_of(which: Workbook) -> list[str]:
    return [variable.header for variable in ISLES24.variables_of(which)]


def clinical_workbook(which: Workbook, *rows: Mapping[str, Any], formats: Mapping[str, str] | None = None) -> bytes:
    """A workbook with the release's headers and one line for each of `rows`, blank where it says nothing."""
    header = headers_of(which)
    return workbook([header, *([row.get(name) for name in header] for row in rows)], formats=formats)


def edited_zip(content: bytes, name: str, edit: Callable[[str], str]) -> bytes:
    """The zip archive `content` with the text of its member `name` edited."""
    edited = BytesIO()
    with ZipFile(BytesIO(content)) as source, ZipFile(edited, "w") as target:
        for member in source.namelist():
            text = source.read(member)
            target.writestr(member, edit(text.decode()) if member == name else text)
    return edited.getvalue()
