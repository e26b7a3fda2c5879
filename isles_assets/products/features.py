"""The Hugging Face side of a config. Apart from `config`, because importing `datasets` takes a second."""

import pyarrow as pa
from datasets import Features, Image, List, Nifti, Value

from isles_assets.products.config import MEDIA, Config


def features(config: Config) -> Features:
    """The features of `config`: `Nifti()` for volumes, `Image()` for pictures, plain values for the rest."""
    return Features({field.name: _feature(config, field) for field in config.schema})


def annotated_schema(config: Config) -> pa.Schema:
    """The schema of `config`'s files with the metadata from which `load_dataset` knows the features without a card."""
    return features(config).arrow_schema


def _feature(config: Config, field: pa.Field) -> Nifti | Image | Value | List:
    if field.type == MEDIA:
        return Nifti() if field.name in config.volumes else Image()
    return _plain(field.type)


def _plain(of: pa.DataType) -> Value | List:
    return List(_plain(of.value_type)) if pa.types.is_list(of) else Value(str(of))
