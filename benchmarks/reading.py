"""What leaves the Hub, and what it takes, when parts of the dataset are read: two volumes, one frame, the table."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from benchmarks import clients
from benchmarks.loopback import TOKEN, hub, publication_of_one
from benchmarks.material import LARGE, Material
from benchmarks.measure import Comparison, Sample, compare, in_child
from benchmarks.products import DATASET, PREVIEW, SHARD
from benchmarks.project import Project
from isles_assets.publication.card import text_of_card
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.hub_server import HubServer

COLUMNS = ("ncct", "lesion_mask")
SERIES = "ctp"

BY_EXAMPLE = "`read` of examples/read_two_volumes.py"
BY_CARD = "the card's first example"
BY_COLUMNS = "`load_dataset` with `data_files` and `columns`, streaming"
BY_ROW = "`load_dataset` with `data_files`, streaming: the whole row"
BY_BYTES = "the same with `decode(False)`: no volume is decoded"
FIRST, LAST = "`read_frame` of examples/ctp_frame.py: the first frame", "the last frame"
BY_COLUMN = "`load_dataset` with `columns`, streaming, and `dataobj[..., 0]`"
BY_FRAME, BY_STREAM = "`clinical_frame`", "`load_dataset` of `preview` with `columns`, streaming"
BY_DOWNLOAD = "`load_dataset` of `preview`"
FILE_BYTES, OTHER_BYTES, REQUESTS = "bytes of the file", "other bytes", "requests"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """Each reader has an empty cache. One subject at release scale; then the table of all subjects of the sample."""
    subject, config = LARGE[0], SHARD.configs[0]
    path = config.path(subject)
    with material.scratch() as folder:
        publication = publication_of_one(material, subject, folder)
        shard = SHARD.path(DataFolder(folder, SHARD.release), config, subject)
        with published(publication, folder) as server:
            read = partial(_read, material, server, path)
            volumes: dict[str, Callable[[], Sample]] = {
                BY_EXAMPLE: partial(read, clients.read_by_example, subject, COLUMNS),
                BY_CARD: partial(read, clients.run, first_example(publication)),
                BY_COLUMNS: partial(read, clients.read_columns, path, COLUMNS),
                BY_ROW: partial(read, clients.read_row, path, COLUMNS),
                BY_BYTES: partial(read, clients.read_undecoded, path),
            }
            yield compare(f"{' and '.join(COLUMNS)} of {subject}", column_bytes(shard, COLUMNS), volumes, rounds)
            series = material.subject(subject).row.volumes[SERIES]
            assert series and series.shape
            frames: dict[str, Callable[[], Sample]] = {
                FIRST: partial(read, clients.read_frame, subject, 0),
                LAST: partial(read, clients.read_frame, subject, series.shape[3] - 1),
                BY_COLUMN: partial(read, clients.read_first_frame, path, SERIES),
            }
            yield compare(f"one frame of {SERIES} of {subject}", column_bytes(shard, [SERIES]), frames, rounds)
    with material.scratch() as folder:
        yield clinical_table(material, folder, rounds)


def clinical_table(material: Material, folder: Path, rounds: int) -> Comparison:
    """The clinical variables of all subjects, beside which their pictures are in the same file."""
    project = Project(folder, material.sample)
    project.build()
    publication = recorded_publication(DATASET, DataFolder(project.data, DATASET.release), clients.REPO)
    path = PREVIEW.configs[0].path("")
    names = [variable.column for variable in DATASET.release.variables]
    with published(publication, folder) as server:
        read = partial(_read, material, server, path)
        contenders: dict[str, Callable[[], Sample]] = {
            BY_FRAME: partial(read, clients.read_clinical_frame),
            BY_STREAM: partial(read, clients.stream_preview, names),
            BY_DOWNLOAD: partial(read, clients.load_preview),
        }
        table = BytesIO(server.content(clients.REPO, path))
        of = f"the clinical table of {len(DATASET.release.subjects)} subjects"
        return compare(of, column_bytes(table, names), contenders, rounds)


@contextmanager
def published(publication: Publication, folder: Path) -> Iterator[HubServer]:
    """A Hub with the publication, which stays while all readers come."""
    with hub(folder / "hub_server") as server:
        in_child(clients.publish, publication, environment=server.environment(folder / "home", TOKEN))
        yield server


def first_example(publication: Publication) -> str:
    """The first Python on the card."""
    found = re.search(r"```python\n(.*?)```", text_of_card(publication), re.DOTALL)
    assert found
    return found[1]


def column_bytes(table: Path | BinaryIO, columns: Sequence[str]) -> int:
    """Bytes that the chunks of `columns` take in the file: values and, of volumes, names, with their page headers."""
    footer = pq.read_metadata(table)
    groups = map(footer.row_group, range(footer.num_row_groups))
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    return sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)


def _read(material: Material, server: HubServer, path: str, reader: Callable[..., None], *what: Any) -> Sample:
    """The sample of `reader`, with the bytes that left the server meanwhile."""
    before = len(server.requests)
    with material.scratch() as home:
        sample = in_child(reader, *what, environment=server.environment(home))
    server.quiet()
    requests = server.requests[before:]
    of_file = [record for record in requests if record.path.endswith(path)]
    sent = sum(record.bytes_out for record in of_file)
    counts = {FILE_BYTES: sent, OTHER_BYTES: sum(record.bytes_out for record in requests) - sent}
    return replace(sample, counts=counts | {REQUESTS: len(requests)})
