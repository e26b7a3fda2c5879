"""The Hugging Face features of a config.

They are not in `config`, and `datasets` is imported where it is used, because importing it takes a second.
"""

from typing import TYPE_CHECKING

import pyarrow as pa

from isles_assets.products.config import MEDIA, Config

if TYPE_CHECKING:
    from datasets import Features, Image, List, Nifti, Value


def features(config: Config) -> "Features":
    """Return the features that readers of `config` see: `Nifti()` for volumes, `Image()` for pictures, plain values."""
    from datasets import Features

    return Features({field.name: _feature(config, field) for field in config.columns})


def annotated_schema(config: Config) -> pa.Schema:
    """Return the columns of `config`. The schema's metadata tells `load_dataset` the features without a card."""
    return features(config).arrow_schema


def _feature(config: Config, field: pa.Field) -> "Nifti | Image | Value | List":
    from datasets import Image, Nifti

    if field.type == MEDIA:
        return Nifti() if field.name in config.volumes else Image()
    return _plain_feature(field.type)


def _plain_feature(arrow: pa.DataType) -> "Value | List":
    from datasets import List, Value

    return List(_plain_feature(arrow.value_type)) if pa.types.is_list(arrow) else Value(str(arrow))
