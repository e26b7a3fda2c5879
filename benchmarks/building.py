"""Building a shard: time and memory against reading and hashing the same files."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.baselines import CAT, cat_to_sha256sum, copy_synced, hash_in_python
from benchmarks.material import LARGE, Material, Subject
from benchmarks.measure import Comparison, Sample, compare, in_child
from benchmarks.products import build_shard

PACKED = "`build_shard`, packed only"
DECODED = "`build_shard`, each volume decoded on its way (the default)"
HASHED = "SHA-256 of the files by Python's `hashlib`, for information"
COPIED = "plain copy of the files and `fsync`, for information"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """Each subject at release scale, packed and decoded."""
    schemas = material.schemas()
    for name in LARGE:
        subject = material.subject(name)
        files = list(subject.files.values())
        contenders: dict[str, Callable[[], Sample]] = {
            CAT: partial(cat_to_sha256sum, files),
            PACKED: partial(_build, material, subject, schemas, False),
            DECODED: partial(_build, material, subject, schemas, True),
            HASHED: partial(in_child, hash_in_python, files),
            COPIED: partial(_copy, material, files),
        }
        yield compare(name, subject.size, contenders, rounds)


def _build(material: Material, subject: Subject, schemas: object, decode: bool) -> Sample:
    with material.scratch() as folder:
        return in_child(build_shard, material.release, folder, subject.row, schemas, decode)


def _copy(material: Material, files: Sequence[Path]) -> Sample:
    with material.scratch() as folder:
        return in_child(copy_synced, files, folder / "copy")
