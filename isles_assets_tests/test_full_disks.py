"""A disk that is full at any write; `test_local_hub` has those of the local target, `test_interruptions` a whole run.

Each write goes to a small file system that is full. It is refused by name, leaves what was there and nothing else, and
is tried again with room for one block more, or one name, until it succeeds: so that the room ends at every place once.
"""

import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from isles_assets.hub.changes import compare
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.reading import open_revision
from isles_assets.hub.restoring.clinical import write_clinical
from isles_assets.hub.restoring.shards import Selection, index_shards
from isles_assets.hub.restoring.volumes import restore_volumes
from isles_assets.hub.staging import stage_and_free
from isles_assets.lib.findings import Refusal
from isles_assets.products.building import build_subject, read_sidecars, states_of, up_to_date
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import Build, Product
from isles_assets.publication.guard import recorded_publication
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.release.release import Release
from isles_assets.sample.tree import make_sample
from isles_assets.source.download import download
from isles_assets.source.extraction import extract_release
from isles_assets.source.verified import note_beside, verify
from isles_assets.source.zenodo import Zenodo
from isles_assets.tables import clinical
from isles_assets.tables.digests import Digests, write_digests
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import write_inventory
from isles_assets.tables.listing import obtain_listing, write_listing
from isles_assets.tables.manifest import manifest_table, read_manifest, survey
from isles_assets.tables.storage import SUBJECT_COLUMN, write_table
from isles_assets_tests.archives import COPY, pack
from isles_assets_tests.full_disk import fill
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.hub_server.faults import Fault, How
from isles_assets_tests.hub_server.http import Call
from isles_assets_tests.isles24 import PREVIEW, SMALL
from isles_assets_tests.processes import END_AT_ONCE, on_small_disk
from isles_assets_tests.project import contents
from isles_assets_tests.running import temporary_files
from isles_assets_tests.toy import DATASET, SHARD, TOY, folder_at
from isles_assets_tests.zenodo_server import FAST, Deposit, ZenodoServer, record_of

pytestmark = pytest.mark.slow

ONE = TOY.only(TOY.subjects[:1])
TOKEN = "hf_w"


@dataclass(frozen=True)
class Given:
    """What is on another disk: tree and data folder of the toy release and of six subjects, and a place for `more`."""

    toy_tree: Path
    toy_data: Path
    small_tree: Path
    small_data: Path
    more: Path


@dataclass(frozen=True)
class Write:
    """What is to `do` below a folder, which gets ready for it by `prepare`; either is told what is given.

    Each time it is tried with so many `blocks` more.
    """

    do: Callable[[Given, Path], None]
    prepare: Callable[[Given, Path], object] = lambda given, root: None
    blocks: int = 1


def tables(given: Given, root: Path) -> None:
    """`archive_listing`, `raw_tree`, `clinical` with its findings, `digests`, `manifest`."""
    folder, tree = folder_at(root), given.toy_tree
    write_listing(folder, obtain_listing(folder, tree, None))
    inventory = take_inventory(TOY, tree)
    write_inventory(folder, inventory)
    rows = read_clinical_rows(TOY, tree, TOY.subjects)
    clinical.write_clinical_findings(folder, rows)
    table = clinical.clinical_table(TOY, rows)
    write_table(folder.clinical, table)
    digests = Digests()
    surveyed = survey(TOY, tree, inventory, clinical.clinical_values(table), digests=digests, full=True)
    write_digests(folder, digests)
    write_table(folder.manifest, manifest_table(TOY, surveyed))


def build(product: Product, release: Release, tree: Path, tables: DataFolder, folder: DataFolder) -> None:
    """Make the product of the first two subjects, where it is not there yet."""
    rows = list(read_manifest(tables).values())[:2]
    known = up_to_date(product, folder, rows, tree)
    parts = Build(tree, folder, {config.name: annotated_schema(config) for config in product.configs})
    for row in rows:
        if row.subject not in known:
            build_subject(product, parts, row)


def shards(given: Given, root: Path) -> None:
    build(SHARD, TOY, given.toy_tree, folder_at(given.toy_data), folder_at(root))


def previews(given: Given, root: Path) -> None:
    build(PREVIEW, SMALL, given.small_tree, DataFolder(given.small_data, SMALL), DataFolder(root, SMALL))


def copied_preview(given: Given, root: Path) -> None:
    _copy((given.small_data / PREVIEW.plural).rglob(f"{SMALL.subjects[0]}.*"), given.small_data, root)


def table_of_previews(given: Given, root: Path) -> None:
    """As it is published."""
    folder = DataFolder(root, SMALL)
    sidecars = {sidecar.subject: sidecar for sidecar in read_sidecars(PREVIEW, folder)}
    PREVIEW.files(folder, sidecars, {config.name: annotated_schema(config) for config in Dataset.of(SMALL).configs})


def copied_shards(given: Given, root: Path) -> None:
    """With their records, to which they are other files than were noted."""
    _copy((path for of in ("shards", "tables") for path in (given.toy_data / of).rglob("*.*")), given.toy_data, root)


def _copy(paths: Iterable[Path], source: Path, root: Path) -> None:
    for path in paths:
        target = root / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def notes(given: Given, root: Path) -> None:
    """What is noted of shards that had to be read again."""
    folder = folder_at(root)
    states = states_of(SHARD, folder, list(read_manifest(folder).values()))
    assert [state.sidecar for state in states.values()] == read_sidecars(SHARD, folder)


def freed(given: Given, root: Path) -> None:
    """The Hub has what is staged; here it goes."""
    folder = folder_at(root)
    with HubServer(given.more, tokens={TOKEN: Token("ada", orgs={"toys": "write"})}) as hub:
        os.environ["HF_TOKEN"] = TOKEN
        target = HuggingFaceHub(TOY.repo, DATASET, endpoint=hub.endpoint)
        target.prepare_staging()
        stage_and_free(target, SHARD, folder, lambda sidecar: [], read_sidecars(SHARD, folder))


def sample(given: Given, root: Path) -> None:
    tree = root / "sample" / TOY.record.top
    if not tree.exists():
        make_sample(ONE, tree, workers=1)


def archive_of(given: Given) -> Path:
    path = given.more / TOY.record.archive
    return path if path.exists() else pack(path, given.toy_tree, {".": COPY})


def extracted(given: Given, root: Path) -> None:
    extract_release(TOY, archive_of(given), root / "release" / TOY.record.top, workers=1)


def downloaded(given: Given, root: Path) -> None:
    content = archive_of(given)
    record = record_of(content, TOY.record)
    with ZenodoServer(Deposit(record, content)) as server:
        download(record, root / record.archive, Zenodo(server.endpoint, FAST, lambda words: None), patience=FAST)


def recognized(given: Given, root: Path) -> None:
    """An archive that was put there by hand."""
    path = root / TOY.record.archive
    release = replace(TOY, record=record_of(path, TOY.record))
    verify(path, release, lambda words: None)
    assert note_beside(path).exists()


def restored(given: Given, root: Path) -> None:
    """Volumes and clinical values, from what is published in a folder."""
    selection = Selection(TOY, TOY.volumes, clinical=True)
    revision = open_revision(str(folder_at(given.toy_data).hub / TOY.repo))
    index = index_shards(revision, selection, TOY.subjects[:2], 1, lambda words: None)
    rows = [{SUBJECT_COLUMN: subject, **values} for subject, values in index.clinical.items()]
    table = pa.Table.from_pylist(rows, clinical.clinical_schema(TOY))
    write_clinical(root / "clinical.csv", table, overwrite=False)
    outcome = restore_volumes(index.volumes, root / "tree", overwrite=False, workers=1, log=lambda words: None)
    if outcome.findings:
        raise Refusal("Not all was restored.", outcome.findings)


WRITES = {
    "tables": Write(tables),
    "shards": Write(shards),
    "previews": Write(previews, blocks=20),
    "table of previews": Write(table_of_previews, copied_preview),
    "notes": Write(notes, copied_shards),
    "freeing": Write(freed, copied_shards),
    "sample": Write(sample),
    "archive": Write(extracted),
    "download": Write(downloaded),
    "archive's note": Write(recognized, lambda given, root: (root / TOY.record.archive).write_bytes(b"archive")),
    "restoring": Write(restored),
}


def made(root: Path) -> Mapping[str, str]:
    """What lies there under a final name, by path: its digest, but of notes that tell the time of an archive."""
    found = {path: digest for path, digest in contents(root).items() if ".part" not in path}
    return found | dict.fromkeys((path for path in found if path.endswith(".7z.json")), "a note")


def on_a_full_disk(write: Write, disk: Path, there: Given) -> None:
    """Write with room for one block more, or one name, each time, until it fits."""
    root, undisturbed = disk / "root", there.more / "undisturbed"
    for folder in (undisturbed, root):
        folder.mkdir(parents=True)
        write.prepare(there, folder)
    write.do(there, undisturbed)
    before, expected, refused = made(root), made(undisturbed), 0
    kept, fillers = before, fill(disk)
    while refusal := refusal_of(partial(write.do, there, root)):
        refused += 1
        for finding in refusal.findings:
            assert Path(finding.path).is_relative_to(root), refusal
            assert finding.problem == "the disk is full" or finding.problem.endswith("are needed"), refusal
        assert not temporary_files(disk), refusal
        now = made(root)
        assert kept.items() <= now.items() <= expected.items() | before.items(), refusal
        kept = now
        for _ in range(write.blocks):
            fillers.pop().unlink(missing_ok=True)
    assert made(root) == expected
    assert not temporary_files(disk)
    assert refused


def refusal_of(do: Callable[[], object]) -> Refusal | None:
    try:
        do()
    except Refusal as refusal:
        return refusal
    return None


def each_on_a_full_disk(disk: Path, *given: Path) -> None:
    """All of them, one after the other; a report of each says what was wrong."""
    there = Given(*given)
    for name, write in WRITES.items():
        try:
            on_a_full_disk(write, disk, replace(there, more=there.more / f"with {name}"))
            problem = ""
        except Exception:
            problem = traceback.format_exc()
        (there.more / name).write_text(problem)
        shutil.rmtree(disk / "root")
        for filler in disk.glob("filler *"):
            filler.unlink()


WALK = f"""
import sys; from pathlib import Path
from {__name__} import each_on_a_full_disk
each_on_a_full_disk(*map(Path, sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def reports(made_once, toy_sample_tree, toy_built_folder, small_sample_tree, small_built_folder):
    """What was wrong with each write, by name; all in one process, most of whose time goes by before the first."""
    toys, six = (toy_sample_tree, toy_built_folder / "data"), (small_sample_tree, small_built_folder / "data")

    def write(folder: Path) -> None:
        disk = folder / "disk"
        disk.mkdir()
        on_small_disk(disk, "4m,nr_inodes=1024", WALK, disk, *toys, *six, folder)

    return made_once("full_disks", write)


@pytest.mark.long
@pytest.mark.parametrize("name", WRITES)
def test_a_disk_that_is_full_at_any_write_costs_nothing_and_is_named(reports, name):
    assert not (reports / name).read_text()


@dataclass(frozen=True)
class Fill(How):
    """The disk is full from this request on."""

    disk: Path

    def before(self, hub: HubServer, call: Call, fault: Fault) -> None:
        fill(self.disk)


def by_xet_on_a_full_disk(disk: Path, data: Path, more: Path) -> None:
    """Publish by Xet; the disk of its notes is full before it begins, or once it has begun, or at its end."""
    home, publication = disk / "home", recorded_publication(DATASET, folder_at(data), TOY.repo)
    with HubServer(more, {TOKEN: Token("ada", orgs={"toys": "write"})}, xet=True) as hub, hub.clients(home):
        os.environ["HF_TOKEN"] = TOKEN
        target = HuggingFaceHub(TOY.repo, DATASET, endpoint=hub.endpoint)
        for path in ("/xet-write-token/", "/v1/xorb-grants/", "/v2/shards"):
            hub.fail(path=path, how=Fill(disk))
            refusal = refusal_of(partial(target.publish, publication))
            assert refusal and [finding.path for finding in refusal.findings] == [str(home / "xet")], path
            assert "cannot be written to: No space left on device -> set HF_XET_CACHE, or HF_HOME" in str(refusal)
            assert not target.stored().keys() - {".gitattributes"}
            for filler in disk.glob("filler *"):
                filler.unlink()
        assert target.publish(publication).changed
        assert not compare(publication, target.stored())


BY_XET = f"""
import sys; from pathlib import Path
from {__name__} import by_xet_on_a_full_disk
by_xet_on_a_full_disk(*map(Path, sys.argv[1:]))
"""


@pytest.mark.long
def test_a_disk_that_fills_up_while_xet_sends_is_named_and_nothing_is_published(toy_built_folder, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    on_small_disk(disk, "24m", BY_XET, disk, toy_built_folder / "data", tmp_path / "more")


LOOK = f"""
import sys
from pathlib import Path
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.verification import card_valid, loads
from isles_assets.lib.findings import Refusal
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.release.isles24 import ISLES24
from isles_assets.tables.folder import DataFolder
filler, data, repo, *subjects = sys.argv[1:]
release = ISLES24.only(subjects)
dataset = Dataset.of(release)
target = HuggingFaceHub(repo, dataset)
publication = recorded_publication(dataset, DataFolder(Path(data), release), repo)
try:
    Path(filler).write_bytes(bytes(1 << 24))
except OSError:
    print(card_valid(target, publication))
try:
    loads(target, publication, decode=False)
except Refusal as refusal:
    print(refusal)
Path(filler).unlink()
print(loads(target, publication, decode=False))
{END_AT_ONCE}"""
"""A process that does not know the tests' own package, which would forget where the home is."""


@pytest.mark.long
def test_a_home_without_room_is_no_fault_of_what_is_published(small_built, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    disk, dataset, repo = tmp_path / "disk", Dataset.of(SMALL), SMALL.repo
    disk.mkdir()
    with HubServer(tmp_path / "hub", {TOKEN: Token("ada", orgs={repo.split("/")[0]: "write"})}) as hub:
        publication = recorded_publication(dataset, small_built.folder, repo)
        HuggingFaceHub(repo, dataset, endpoint=hub.endpoint).publish(publication)
        arguments = disk / "filler", small_built.folder.root, repo, *SMALL.subjects
        environment = hub.environment(disk / "home", TOKEN)
        said = on_small_disk(disk, "4m", LOOK, *arguments, env=environment).splitlines()
    assert said == [
        "[]",
        "The dataset was not loaded.",
        f"  {disk}/home/hub: the disk is full -> free space, or set HF_HOME to a larger disk; then run again",
        "[]",
    ]
