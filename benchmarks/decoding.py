"""Decoding every volume of a subject, against the shell's check of the same compressed files."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.baselines import GZIP, gzip_test
from benchmarks.material import LARGE, Material
from benchmarks.measure import Comparison, compare, in_child
from isles_assets.reading.nifti import DigestingReader, inspect
from isles_assets.release.isles24 import ISLES24

DECODED = "`inspect` of all 18 volumes"
DIGESTED = "the same, digesting each file on the way as for a shard"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """One subject."""
    subject = material.subject(LARGE[0])
    contenders = {
        GZIP: partial(gzip_test, list(subject.files.values())),
        DECODED: partial(in_child, decode, subject.files),
        DIGESTED: partial(in_child, decode_and_digest, subject.files),
    }
    yield compare(LARGE[0], subject.size, contenders, rounds)


def decode(files: Mapping[str, Path]) -> None:
    """Inspect each column's file."""
    for column, path in files.items():
        with path.open("rb", buffering=0) as file:
            inspect(file, ISLES24.by_column[column].content)


def decode_and_digest(files: Mapping[str, Path]) -> None:
    """Inspect each column's file as `build_shard` reads it."""
    for column, path in files.items():
        with DigestingReader(path) as source:
            inspect(source, ISLES24.by_column[column].content)
