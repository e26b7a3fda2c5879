"""The Hugging Face side of the schema. Apart from `schema`, because importing `datasets` takes a second."""

import pyarrow as pa
from datasets import Features, Image, List, Nifti, Value

from isles_assets.products.preview.preview import preview_schema
from isles_assets.products.schema import MEDIA, Config, PreviewConfig, shard_schema


def features(config: Config | PreviewConfig) -> Features:
    """The features of `config`: `Nifti()` for volumes, `Image()` for pictures, plain values for the rest."""
    schema, media = (shard_schema(config), Nifti) if isinstance(config, Config) else (preview_schema(), Image)
    return Features({field.name: media() if field.type == MEDIA else _plain(field.type) for field in schema})


def _plain(of: pa.DataType) -> Value | List:
    return List(_plain(of.value_type)) if pa.types.is_list(of) else Value(str(of))


def annotated_schema(config: Config | PreviewConfig) -> pa.Schema:
    """The schema of `config`'s files with the metadata from which `load_dataset` knows the features without a card."""
    return features(config).arrow_schema
