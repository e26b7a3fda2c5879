"""What leaves the Hub when two volumes of one subject are read by streaming, against what these columns hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.clients import publish, read_by_example, read_columns, read_row
from benchmarks.loopback import TOKEN, hub, publication_of_one
from benchmarks.material import LARGE, Material
from benchmarks.measure import Comparison, Sample, compare, in_child
from benchmarks.products import SHARD
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.hub_server import HubServer

COLUMNS = ("ncct", "lesion_mask")

BY_EXAMPLE = "`read` of examples/read_two_volumes.py"
BY_COLUMNS = "`load_dataset` with `data_files` and `columns`, streaming"
BY_ROW = "`load_dataset` with `data_files`, streaming: the whole row"
FILE_BYTES, OTHER_BYTES, REQUESTS = "bytes of the file", "other bytes", "requests"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """One subject; the Hub stays, each reader has an empty cache."""
    subject = LARGE[0]
    config = SHARD.configs[0]
    path = config.path(subject)
    with material.scratch() as folder, published_subject(material, subject, folder) as server:
        shard = SHARD.path(DataFolder(folder, SHARD.release), config, subject)
        read = partial(_read, material, server, path)
        contenders: dict[str, Callable[[], Sample]] = {
            BY_EXAMPLE: partial(read, read_by_example, subject),
            BY_COLUMNS: partial(read, read_columns, path),
            BY_ROW: partial(read, read_row, path),
        }
        yield compare(f"{' and '.join(COLUMNS)} of {subject}", column_bytes(shard), contenders, rounds)


@contextmanager
def published_subject(material: Material, subject: str, folder: Path) -> Iterator[HubServer]:
    """A Hub with the shards of one subject, which are built in the data folder `folder`."""
    publication = publication_of_one(material, subject, folder)
    with hub(folder / "hub_server") as server:
        in_child(publish, publication, environment=server.environment(folder / "home", TOKEN))
        yield server


def column_bytes(shard: Path) -> int:
    """Bytes that the chunks of `COLUMNS` take in the file: bytes and names of the volumes, with their page headers."""
    group = pq.read_metadata(shard).row_group(0)
    chunks = map(group.column, range(group.num_columns))
    return sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in COLUMNS)


def _read(material: Material, server: HubServer, path: str, reader: Callable[..., None], what: str) -> Sample:
    """The sample of `reader`, with the bytes that left the server meanwhile."""
    before = len(server.requests)
    with material.scratch() as home:
        sample = in_child(reader, what, COLUMNS, environment=server.environment(home))
    server.quiet()
    requests = server.requests[before:]
    of_file = [record for record in requests if record.path.endswith(path)]
    sent = sum(record.bytes_out for record in of_file)
    counts = {FILE_BYTES: sent, OTHER_BYTES: sum(record.bytes_out for record in requests) - sent}
    return replace(sample, counts=counts | {REQUESTS: len(requests)})
