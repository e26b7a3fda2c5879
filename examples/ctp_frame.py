"""Read one frame of a perfusion series: the file is read up to this frame, and nothing else of the row travels.

python examples/ctp_frame.py sub-stroke0014 5 --column ctp_ncct
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
from huggingface_hub import HfFileSystem

REPO = "hugging-science/isles24-stroke"
SHARDS = {"ctp": "data/train/{}.parquet", "ctp_ncct": "ctp_ncct/train/{}.parquet"}
AT_ONCE = 1 << 20
"""Bytes of each request."""


def read_frame(repo: str, subject: str, number: int, column: str = "ctp") -> np.ndarray:
    """Frame `number`, from 0, of `subject`: (x, y, z). In memory are this frame and the request.

    A shard holds the `.nii.gz` file as it is, and that holds one frame after the other. So the first frames are cheap;
    the last one costs the whole series. `repo` is a dataset repo of the Hub or a folder laid out as one.
    """
    with opened(repo, SHARDS[column].format(subject)) as shard:
        footer = pq.read_metadata(shard)
        row = footer.row_group(0)
        names = [row.column(index).path_in_schema for index in range(row.num_columns)]
        chunk = row.column(names.index(f"{column}.bytes"))
        size = json.loads(footer.metadata[b"isles_assets"])["sources"][column]["size"]
        shard.seek(chunk.data_page_offset + chunk.total_compressed_size - size)  # the file ends with its chunk
        image = nib.Nifti1Image.from_stream(gzip.GzipFile(fileobj=shard))
        if number not in range(image.shape[3]):
            raise SystemExit(f"{subject} has the frames 0 to {image.shape[3] - 1}")
        return np.asarray(image.dataobj[..., number])  # nibabel skips what is before it


def opened(repo: str, path: str) -> Any:
    """A file of the repo or folder."""
    if Path(repo).is_dir():
        return Path(repo, path).open("rb")
    return HfFileSystem().open(f"datasets/{repo}/{path}", block_size=AT_ONCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject")
    parser.add_argument("frame", type=int)
    parser.add_argument("--column", choices=SHARDS, default="ctp")
    parser.add_argument("--repo", default=REPO)
    given = parser.parse_args()
    frame = read_frame(given.repo, given.subject, given.frame, given.column)
    print(given.column, given.frame, frame.shape, f"mean {frame.mean():.3f}")


if __name__ == "__main__":
    main()
