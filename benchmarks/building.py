"""Building and fully verifying a shard: time and memory against decompressing the same files, and its parts."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.baselines import ISAL, copy_synced, decompress_by_isal, hash_in_python
from benchmarks.decoding import decode, decode_and_digest
from benchmarks.material import LARGE, Material, Subject
from benchmarks.measure import Comparison, Sample, compare, in_child
from benchmarks.products import build_shard

DECODED = "`build_shard`, each volume decoded on its way (the default)"
INSPECTED = "a part of it: decompressing, header, voxels, text"
DIGESTED = "the same, and SHA-256 and CRC-32 of the files as they are read"
HASHED = "a part of it: one SHA-256, such as that of the shard as it is read back"
COPIED = "a part of it: writing as many bytes, and `fsync`"
PACKED = "`build_shard`, packed without decoding"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """Each subject at release scale."""
    schemas = material.schemas()
    for name in LARGE:
        subject = material.subject(name)
        files = list(subject.files.values())
        contenders: dict[str, Callable[[], Sample]] = {
            ISAL: partial(in_child, decompress_by_isal, files),
            DECODED: partial(_build, material, subject, schemas, True),
            INSPECTED: partial(in_child, decode, subject.files),
            DIGESTED: partial(in_child, decode_and_digest, subject.files),
            HASHED: partial(in_child, hash_in_python, files),
            COPIED: partial(_copy, material, files),
            PACKED: partial(_build, material, subject, schemas, False),
        }
        yield compare(name, subject.size, contenders, rounds)


def _build(material: Material, subject: Subject, schemas: object, decode: bool) -> Sample:
    with material.scratch() as folder:
        return in_child(build_shard, material.release, folder, subject.row, schemas, decode)


def _copy(material: Material, files: Sequence[Path]) -> Sample:
    with material.scratch() as folder:
        return in_child(copy_synced, files, folder / "copy")
