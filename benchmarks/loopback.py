"""The Hub on loopback that the tests use, and something to publish there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.clients import REPO
from benchmarks.material import Material
from benchmarks.products import DATASET, PREVIEW, SHARD, build_preview, build_shard
from isles_assets.publication.assembling import assemble
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.hub_server import HubServer, Token

TOKEN = "hf_benchmark"


@contextmanager
def hub(folder: Path, *, xet: bool = False) -> Iterator[HubServer]:
    """A Hub with nothing in it, which keeps its objects in `folder`; `TOKEN` may write."""
    with HubServer(folder, tokens={TOKEN: Token("ada", orgs={"hugging-science": "write"})}, xet=xet) as server:
        yield server
        if server.strays:
            raise RuntimeError(f"requests were meant for other hosts: {server.strays[:5]}")


def publication_of_one(material: Material, subject: str, folder: Path) -> Publication:
    """The publication of one subject at release scale, which is built in the data folder `folder`."""
    row = material.subject(subject).row
    shard = build_shard(material.release, folder, row, material.schemas(), decode=False)
    preview = build_preview(material.release, folder, row)
    made = {SHARD.name: {subject: shard}, PREVIEW.name: {subject: preview}}
    return assemble(DATASET, DataFolder(folder, DATASET.release), REPO, made, {subject: row})
