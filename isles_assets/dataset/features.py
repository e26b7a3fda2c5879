"""The Hugging Face side of the schema. Apart from `schema`, because importing `datasets` takes a second."""

import pyarrow as pa
from datasets import Features, Nifti, Value

from isles_assets.dataset.schema import NIFTI, Config, shard_schema


def features(config: Config) -> Features:
    """The features of `config`: `Nifti()` for volumes, plain values for the rest."""
    return Features(
        {field.name: Nifti() if field.type == NIFTI else Value(str(field.type)) for field in shard_schema(config)}
    )


def annotated_schema(config: Config) -> pa.Schema:
    """The shard's schema with the metadata from which `load_dataset` knows the features without a card."""
    return features(config).arrow_schema
