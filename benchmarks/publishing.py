"""Publishing over loopback, against the client's own way to upload a folder; and the memory that sending takes."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.clients import REPO, publish, stage, upload
from benchmarks.loopback import TOKEN, hub, publication_of_one
from benchmarks.material import LARGE, Material
from benchmarks.measure import Comparison, Sample, compare, in_child
from benchmarks.products import DATASET, SHARD
from benchmarks.project import Project
from isles_assets.hub.local import LocalHub
from isles_assets.products.building import STAGE_SIZE
from isles_assets.products.product import PublicationFile
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder

PUBLISHED = "`HuggingFaceHub.publish`"
UPLOADED = "`HfApi.upload_folder`"
BYTES, REQUESTS = "bytes received", "requests"
BY_XET, BY_XET_UNLIMITED, BY_LFS = "by Xet", "by Xet, as `hf_xet` is by default", "by LFS"

_PIECE = 1 << 22
_TIMES_THE_ROUNDS = 3
"""They take a second or two, and differ by less than they vary."""
_UNLIMITED = {
    "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "8",
    "HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "64",
    "HF_XET_DATA_INGESTION_BLOCK_SIZE": "8mb",
}
"""What `hf_xet` takes where nobody says anything."""


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """The sample's 149 subjects, then one at release scale, each time to a new Hub."""
    with material.scratch() as folder:
        project = Project(folder, material.sample)
        project.build()
        publication = recorded_publication(DATASET, DataFolder(project.data, DATASET.release), REPO)
        for xet in (False, True):
            of = f"the sample, small files, by {'Xet' if xet else 'LFS'}"
            yield _compare(material, of, publication, folder, rounds, xet=xet)
    with material.scratch() as folder:
        publication = publication_of_one(material, LARGE[0], folder)
        yield _compare(material, f"{LARGE[0]}, {len(publication.files)} files, by LFS", publication, folder, rounds)
    yield sending(material, rounds)


def sending(material: Material, rounds: int) -> Comparison:
    """Stage as much as a group of subjects of the release, by Xet and by LFS: bytes that cannot be packed."""
    with material.scratch() as folder:
        number = STAGE_SIZE * len(SHARD.configs)
        mean = DATASET.release.record.size // len(DATASET.release.subjects) * STAGE_SIZE // number
        files = [_random_file(folder / str(index), 100_000 if material.tiny else mean) for index in range(number)]
        contenders: dict[str, Callable[[], Sample]] = {
            BY_XET: partial(_staged, material, files, xet=True),
            BY_XET_UNLIMITED: partial(_staged, material, files, xet=True, variables=_UNLIMITED),
            BY_LFS: partial(_staged, material, files, xet=False),
        }
        return compare(f"{number} files", sum(file.size for file in files), contenders, rounds)


def _random_file(path: Path, size: int) -> PublicationFile:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, _PIECE):
            piece = os.urandom(min(_PIECE, size - start))
            file.write(piece)
            digest.update(piece)
    return PublicationFile(f"data/train/{path.name}.parquet", path, size, digest.hexdigest())


def _staged(
    material: Material, files: Sequence[PublicationFile], *, xet: bool, variables: Mapping[str, str] | None = None
) -> Sample:
    with material.scratch() as folder, hub(folder / "hub", xet=xet) as server:
        environment = {**server.environment(folder / "home", TOKEN), **(variables or {})}
        return in_child(stage, files, environment=environment)


def _compare(
    material: Material, of: str, publication: Publication, folder: Path, rounds: int, *, xet: bool = False
) -> Comparison:
    local = LocalHub(folder / "local", REPO)
    local.publish(publication)
    contenders: dict[str, Callable[[], Sample]] = {
        UPLOADED: partial(_to_hub, material, xet, len(publication.files), upload, local.folder.resolve()),
        PUBLISHED: partial(_to_hub, material, xet, len(publication.files), publish, publication),
    }
    return compare(of, publication.size, contenders, rounds * _TIMES_THE_ROUNDS)


def _to_hub(material: Material, xet: bool, files: int, send: Callable[..., None], what: Any) -> Sample:
    with material.scratch() as folder, hub(folder / "hub", xet=xet) as server:
        sample = in_child(send, what, environment=server.environment(folder / "home", TOKEN))
        if len(set(server.files(REPO)) - {".gitattributes"}) != files:
            raise RuntimeError(f"{send.__name__} left other than {files} files on the Hub")
        received = sum(record.bytes_in for record in server.requests)
        return replace(sample, counts={BYTES: received, REQUESTS: len(server.requests)})
