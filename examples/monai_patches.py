"""Feed a network with patches that MONAI cuts around the final infarct; only two volumes of a subject travel.

python examples/monai_patches.py --workers 2 --size 96
"""

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from datasets import load_dataset
from monai.data import DataLoader, MetaTensor
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    Orientationd,
    RandCropByPosNegLabeld,
    ScaleIntensityRanged,
    Spacingd,
    SpatialPadd,
)
from torch.utils.data import IterableDataset

REPO = "hugging-science/isles24-stroke"
COLUMNS = ["subject_id", "ncct", "lesion_mask"]
NO_READING_AHEAD = {"hf": {"block_size": 1 << 16}}
"""Without it the Hub's file system fetches up to 5 MiB beyond each column."""
BOTH = ["image", "label"]


def transform(size: int, samples: int) -> Compose:
    """`samples` cubes of `size` voxels of 1 mm a side; the middle is infarct in about half, and in the head in all."""
    crop = RandCropByPosNegLabeld(
        BOTH, label_key="label", image_key="image", spatial_size=(size,) * 3, num_samples=samples
    )
    return Compose(
        [
            EnsureChannelFirstd(BOTH, channel_dim="no_channel"),
            AsDiscreted("label", threshold=0.5),  # in some subjects 1 is stored as 0.99999857
            Orientationd(BOTH, axcodes="RAS", labels=None),
            Spacingd(BOTH, pixdim=(1, 1, 1), mode=("bilinear", "nearest")),
            ScaleIntensityRanged("image", a_min=0, a_max=80, b_min=0, b_max=1, clip=True),
            SpatialPadd(BOTH, spatial_size=(size,) * 3),
            crop,
        ]
    )


class Patches(IterableDataset):  # type: ignore[misc] # torch is optional here, and so unknown to mypy
    """Dictionaries of MONAI, each a patch: `image`, `label` and `subject_id`.

    `repo` is a dataset repo of the Hub or a folder laid out as one. MONAI's own `IterableDataset` would share the rows
    out among the workers once more, after `datasets` has, and leave most of them out.
    """

    def __init__(self, repo: str, size: int, samples: int):
        self.rows = load_dataset(repo, split="train", streaming=True, columns=COLUMNS, storage_options=NO_READING_AHEAD)
        self.transform = transform(size, samples)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            volumes = {"image": tensor(row["ncct"]), "label": tensor(row["lesion_mask"])}
            yield from self.transform({**volumes, "subject_id": row["subject_id"]})


def tensor(image: Any) -> MetaTensor:
    """A nibabel image as MONAI's tensor, which knows its affine."""
    return MetaTensor(image.get_fdata(dtype=np.float32), affine=image.affine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=REPO)
    parser.add_argument("--size", type=int, default=96, help="side of a patch in mm")
    parser.add_argument("--samples", type=int, default=4, help="patches of a subject")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--number", type=int, default=5, help="batches to show")
    given = parser.parse_args()
    patches = Patches(given.repo, given.size, given.samples)
    for shown in islice(DataLoader(patches, batch_size=given.batch, num_workers=given.workers), given.number):
        subjects, marked = sorted(set(shown["subject_id"])), int(shown["label"].sum())
        print(tuple(shown["image"].shape), *subjects, marked, "voxels marked")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
