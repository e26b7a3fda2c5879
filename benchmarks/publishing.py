"""Publishing over loopback, against the client's own way to upload a folder."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.clients import REPO, publish, upload
from benchmarks.loopback import TOKEN, hub, publication_of_one
from benchmarks.material import LARGE, Material
from benchmarks.measure import Comparison, Sample, compare, in_child
from benchmarks.products import DATASET
from benchmarks.project import Project
from isles_assets.hub.local import LocalHub
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder

PUBLISHED = "`HuggingFaceHub.publish`"
UPLOADED = "`HfApi.upload_folder`"
BYTES, REQUESTS = "bytes received", "requests"

_TIMES_THE_ROUNDS = 3
"""They take a second or two, and differ by less than they vary."""


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """The sample's 149 subjects, then one at release scale, each time to a new Hub."""
    with material.scratch() as folder:
        project = Project(folder, material.sample)
        project.build()
        publication = recorded_publication(DATASET, DataFolder(project.data, DATASET.release), REPO)
        yield _compare(material, f"the sample, {len(publication.files)} small files", publication, folder, rounds)
    with material.scratch() as folder:
        publication = publication_of_one(material, LARGE[0], folder)
        yield _compare(material, f"{LARGE[0]}, {len(publication.files)} files", publication, folder, rounds)


def _compare(material: Material, of: str, publication: Publication, folder: Path, rounds: int) -> Comparison:
    local = LocalHub(folder / "local", REPO)
    local.publish(publication)
    contenders: dict[str, Callable[[], Sample]] = {
        UPLOADED: partial(_to_hub, material, len(publication.files), upload, local.folder.resolve()),
        PUBLISHED: partial(_to_hub, material, len(publication.files), publish, publication),
    }
    return compare(of, publication.size, contenders, rounds * _TIMES_THE_ROUNDS)


def _to_hub(material: Material, files: int, send: Callable[..., None], what: Any) -> Sample:
    with material.scratch() as folder, hub(folder / "hub") as server:
        sample = in_child(send, what, environment=server.environment(folder / "home", TOKEN))
        if len(set(server.files(REPO)) - {".gitattributes"}) != files:
            raise RuntimeError(f"{send.__name__} left other than {files} files on the Hub")
        received = sum(record.bytes_in for record in server.requests)
        return replace(sample, counts={BYTES: received, REQUESTS: len(server.requests)})
