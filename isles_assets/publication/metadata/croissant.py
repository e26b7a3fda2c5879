"""`metadata/croissant.json`: the files with their digests, and their columns, in the vocabulary of Croissant.

Fields for responsible use, such as biases and how the data were collected, need the words of the release's authors, and
are left out. So are the authors and the date, which the DOI tells.

Source:
    https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from isles_assets.products.column import Column, undescribed_column
from isles_assets.products.config import CROISSANT, MEDIA, Config
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication
from isles_assets.release.clinical import Known

_OF_CROISSANT = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in _OF_CROISSANT},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
"""What the names stand for, as all files of that version of Croissant have it."""

_FORMATS = {
    ".csv": "text/csv",
    ".jpg": "image/jpeg",
    ".parquet": "application/x-parquet",
}
_OTHER_FORMAT = "application/octet-stream"
_IMAGE = "sc:ImageObject"


def croissant_json(publication: Publication, tables: Mapping[str, Sequence[str]]) -> str:
    """Return the description of all files of `publication` as JSON-LD.

    There is a record set for each table in `metadata/`, and for each config that is one file. The shards hold files
    that no reader of Croissant decodes; they are listed with their digests.

    Args:
        tables: Names of the columns of the files in `metadata/`, by path. They are among the publication's files.
    """
    release, record = publication.dataset.release, publication.dataset.release.record
    sample = "SYNTHETIC SAMPLE of " if publication.synthetic else ""
    phantoms = "Computed phantoms and invented clinical values, which show no patient, laid out as: " if sample else ""
    about = " ".join(f"{len(publication.subjects)} {release.about}.".split())
    joined = [
        (product, config) for product in publication.dataset.products for config in product.configs if config.joined
    ]
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"{sample}{record.title}",
        "description": f"{phantoms}{about}",
        "url": f"https://huggingface.co/datasets/{publication.repo}",
        "license": record.license_url,
        "citeAs": "\n\n".join(work.bibtex for work in release.citations),
        "version": record.version,
        "sameAs": f"https://doi.org/{record.doi}",
        "keywords": [*release.tags, *(["synthetic"] if sample else [])],
        "distribution": [_file_object(file) for file in publication.files],
        "recordSet": [
            *(_of_table(path, columns) for path, columns in tables.items()),
            *(_of_config(config, product.columns) for product, config in joined),
        ],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _file_object(file: PublicationFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": PurePosixPath(file.path).name,
        "contentUrl": _from_here(file.path),
        "contentSize": f"{file.size} B",
        "encodingFormat": _FORMATS.get(PurePosixPath(file.path).suffix, _OTHER_FORMAT),
        "sha256": file.sha256,
    }


def _from_here(path: str) -> str:
    """Return `path` in the repo as seen from the description, so that it holds in a folder and in every tag."""
    here = PurePosixPath(CROISSANT).parent
    return str(PurePosixPath(path).relative_to(here)) if PurePosixPath(path).is_relative_to(here) else f"../{path}"


def _of_table(path: str, columns: Iterable[str]) -> dict[str, Any]:
    name = PurePosixPath(path).stem
    return _record_set(
        name, f"The table {path}", [_field(name, path, Column(column, "", None), "sc:Text") for column in columns]
    )


def _of_config(config: Config, columns: Mapping[str, Column]) -> dict[str, Any]:
    fields = []
    for field in config.columns:
        column = columns.get(field.name) or undescribed_column(field.name)
        is_list = pa.types.is_list(field.type)
        is_image = field.type == MEDIA
        data_type = _IMAGE if is_image else _type_of(field.type.value_type if is_list else field.type)
        fields.append(_field(config.name, config.path(""), column, data_type, is_list=is_list, is_image=is_image))
    return _record_set(config.name, config.description, fields)


def _type_of(arrow: pa.DataType) -> str:
    if pa.types.is_boolean(arrow):
        return "sc:Boolean"
    if pa.types.is_floating(arrow):
        return f"cr:Float{arrow.bit_width}"
    if pa.types.is_integer(arrow):
        return f"cr:{'Int' if pa.types.is_signed_integer(arrow) else 'UInt'}{arrow.bit_width}"
    return "sc:Text"


def _record_set(name: str, description: str, fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": fields}


def _field(
    record_set: str, path: str, column: Column, data_type: str, *, is_list: bool = False, is_image: bool = False
) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": path}, "extract": {"column": column.name}}
    if is_image:
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{column.name}",
        "name": column.name,
        **({"description": _meaning(column)} if column.description else {}),
        "dataType": data_type,
        **({"isArray": True, "arrayShape": "-1"} if is_list else {}),
        "source": source,
    }


def _meaning(column: Column) -> str:
    unit = f" [{column.unit}]" if column.unit else ""
    outcome = "; an outcome, known only afterwards" if column.known is Known.OUTCOME else ""
    return f"{column.description}{unit}{outcome}"
