"""Draw the NCCT slice with the most of the final infarct, which is outlined; only these two volumes travel.

python examples/draw_lesion.py sub-stroke0014 lesion.png
"""

import argparse
import os
import sys

import nibabel as nib
import numpy as np
from datasets import load_dataset
from matplotlib.figure import Figure

REPO = "hugging-science/isles24-stroke"
COLUMNS = ["subject_id", "ncct", "lesion_mask"]
NO_READING_AHEAD = {"hf": {"block_size": 1 << 16}}
"""Without it the Hub's file system fetches up to 5 MiB beyond each column."""
BRAIN = 0, 80
"""Hounsfield units shown as black and as white."""


def draw(repo: str, subject: str) -> Figure:
    """The slice of `subject` as radiologists see it: the patient's right is on the left, the front is at the top.

    `repo` is a dataset repo of the Hub or a folder laid out as one.
    """
    files = {"train": f"data/train/{subject}.parquet"}
    rows = load_dataset(
        repo, data_files=files, split="train", streaming=True, columns=COLUMNS, storage_options=NO_READING_AHEAD
    )
    (row,) = rows
    ncct, mask = row["ncct"], row["lesion_mask"]
    if ncct.shape != mask.shape:
        raise SystemExit(f"{subject}: the mask has another grid, {mask.shape}, than the NCCT, {ncct.shape}")
    lesion = mask.get_fdata(dtype=np.float32) > 0.5  # in some subjects 1 is stored as 0.99999857
    z = int(lesion.sum((0, 1)).argmax())
    width, height, _ = ncct.header.get_zooms()
    figure = Figure(figsize=(6, 6), facecolor="black", layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(upright(ncct.dataobj[..., z], ncct), cmap="gray", vmin=BRAIN[0], vmax=BRAIN[1], aspect=height / width)
    if lesion.any():
        axes.contour(upright(lesion[..., z], ncct), [0.5], colors="red", linewidths=1)
    volume = lesion.sum() * np.prod(mask.header.get_zooms()) / 1000
    axes.set_title(f"{subject}, slice {z}, infarct {volume:.1f} ml", color="white")
    axes.axis("off")
    return figure


def upright(plane: np.ndarray, image: nib.Nifti1Image) -> np.ndarray:
    """`plane`, an axial slice of `image`, as rows from front to back, each from the patient's right to the left."""
    across, along, _ = nib.aff2axcodes(image.affine)  # the direction in which each index grows
    plane = plane[::-1] if across == "R" else plane
    plane = plane[:, ::-1] if along == "A" else plane
    return plane.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject")
    parser.add_argument("picture", help="file to write: .png, .svg or .pdf")
    parser.add_argument("--repo", default=REPO)
    given = parser.parse_args()
    draw(given.repo, given.subject).savefig(given.picture, dpi=100)
    print(given.picture)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
