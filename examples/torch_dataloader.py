"""Feed a network with axial NCCT slices and the final infarct on them; only these two volumes of a subject travel.

python examples/torch_dataloader.py --workers 2 --batch 16
"""

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from torch.utils.data import DataLoader, IterableDataset

REPO = "hugging-science/isles24-stroke"
COLUMNS = ["subject_id", "ncct", "lesion_mask"]
NO_READING_AHEAD = {"hf": {"block_size": 1 << 16}}
"""Without it the Hub's file system fetches up to 5 MiB beyond each column."""
AIR = -1024.0
"""Hounsfield units around the head."""


class Slices(IterableDataset):  # type: ignore[misc] # torch is optional here, and so unknown to mypy
    """Every axial slice of every subject: `ncct` as float32 in HU and `lesion` as uint8 0 or 1, each (1, size, size).

    `repo` is a dataset repo of the Hub or a folder laid out as one. With `seed` the subjects come in another order
    each epoch (call `set_epoch`). The slices of a subject follow each other: mix them in a buffer of your own.
    """

    def __init__(self, repo: str, size: int = 512, seed: int | None = None):
        rows = load_dataset(repo, split="train", streaming=True, columns=COLUMNS, storage_options=NO_READING_AHEAD)
        # One subject at a time: by default ten would be read at once, and kept in memory.
        self.rows = rows if seed is None else rows.shuffle(seed, buffer_size=1, max_buffer_input_shards=1)
        self.size = size

    def set_epoch(self, epoch: int) -> None:
        self.rows.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:  # in a worker of a DataLoader these are its share of the 149 files
            ncct, lesion = row["ncct"].dataobj, row["lesion_mask"].dataobj
            for z in range(ncct.shape[2]):  # a slice of `dataobj` is scaled as the header says; the rest is not made
                marked = np.asarray(lesion[:, :, z]) > 0.5
                yield {
                    "subject_id": row["subject_id"],
                    "slice": z,
                    "ncct": self._cut(np.asarray(ncct[:, :, z], np.float32), AIR),
                    "lesion": self._cut(marked.astype(np.uint8), 0),
                }

    def _cut(self, image: np.ndarray, around: float) -> torch.Tensor:
        """The middle of `image`, or all of it and `around` at its sides."""
        rows, columns = (self.size - length for length in image.shape)  # negative: to be cut off
        sides = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return torch.nn.functional.pad(torch.from_numpy(image)[None], sides, value=around)


def batches(repo: str, *, size: int = 512, batch: int = 16, workers: int = 2, seed: int | None = None) -> DataLoader:
    """Batches of `batch` slices; `workers` processes read, each other subjects."""
    return DataLoader(Slices(repo, size, seed), batch_size=batch, num_workers=workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=REPO)
    parser.add_argument("--size", type=int, default=512, help="height and width of a slice in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--number", type=int, default=5, help="batches to show")
    given = parser.parse_args()
    loader = batches(given.repo, size=given.size, batch=given.batch, workers=given.workers)
    for shown in islice(loader, given.number):
        subjects, marked = sorted(set(shown["subject_id"])), int(shown["lesion"].sum())
        print(tuple(shown["ncct"].shape), shown["ncct"].dtype, *subjects, marked, "voxels marked")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
