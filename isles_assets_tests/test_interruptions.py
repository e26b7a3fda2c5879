"""Runs cut short by bad subjects, dead workers, cancelling, kill -9 or a full disk, and what the next one does.

A run is looked at while all its processes are frozen, so that what a test is about is so when the signal is sent.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from isles_assets.graph.settings import Settings
from isles_assets.lib.files import sha256_of
from isles_assets.lib.parquet import read_back
from isles_assets.lib.workers import map_in_processes
from isles_assets.products.footer import FOOTER_KEY
from isles_assets.products.sidecar import Sidecar
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.conftest import copy_of
from isles_assets_tests.isles24 import BY_COLUMN, CONFIGS, SHARD, SUBJECT_IDS
from isles_assets_tests.processes import REPOSITORY, environment, hold_or_wait, on_small_disk
from isles_assets_tests.project import MEMORY, OF_TABLES, Project, content_of, contents, replace
from isles_assets_tests.running import (
    FIRST,
    RECORDS,
    SECOND,
    TABLES,
    Changes,
    Identity,
    Run,
    copy_all_but_shards,
    finished,
    identities,
    identity,
    materializing,
    running,
    temporary_files,
)
from isles_assets_tests.thirty import THIRTY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a run's processes are found in /proc"),
]


SUBJECTS = THIRTY.subjects


def materialized(project: Project) -> set[str]:
    """Subjects that were materialized, each once, and that Dagster's UI shows as such."""
    records = project.instance.fetch_materializations(dg.AssetKey("subject_shard"), limit=1000).records
    keys = [str(record.partition_key) for record in records]
    assert len(keys) == len(set(keys))
    assert set(keys) == {key for key, state in project.partition_states().items() if state == "MATERIALIZED"}
    return set(keys)


def failed(project: Project) -> set[str]:
    """Subjects that Dagster's UI shows as failed."""
    return {key for key, state in project.partition_states().items() if state == "FAILED"}


def failure_of_shards(project: Project) -> Any:
    """How `subject_shard` failed in the latest run."""
    (run,) = project.instance.get_runs(limit=1)
    (event,) = project.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert event.step_key == "subject_shard"
    return event.get_dagster_event().step_failure_data.user_failure_data


@cache
def holds_what_its_footer_says(path: Path, _: Identity) -> bool:
    assert pq.read_table(path).num_rows == 1
    sources = json.loads(pq.read_metadata(path).metadata[FOOTER_KEY.encode()])["sources"]
    back = read_back(path, {f"{column}.bytes": source["size"] for column, source in sources.items()})
    return back.values == {f"{column}.bytes": source["crc32"] for column, source in sources.items()}


def assert_all_is_whole(folder: DataFolder) -> None:
    """What has a final name is complete, and a record lies only beside the very files that it records."""
    for path in SHARD.root(folder).glob("*/[!.]*.parquet"):
        assert holds_what_its_footer_says(path, identity(path)), path
    for path in (folder.root / RECORDS).glob("[!.]*"):
        sidecar = Sidecar.from_json(path.read_text())
        assert sidecar.subject == path.stem
        for config in CONFIGS:
            assert sha256_of(SHARD.path(folder, config, sidecar.subject)) == sidecar.files[config.name].sha256, path
    for path in folder.raw_tree.parent.glob("[!.]*"):
        assert pq.read_table(path).num_columns


def assert_next_run_does_only_the_rest(project: Project, undisturbed: Path) -> None:
    """And then all is as if nothing had happened."""
    shards, done = SHARD.root(project.folder), finished(project.folder)
    before = identities(shards)
    assert project.materialize("subject_shard", checks=False, partitions=project.release.subjects).success
    after = identities(shards)
    written = {path for path, seen in before.items() if after[path] != seen and path.stem in done}
    assert {path for path in written if path.parent.name != "records"} == set()  # they note what others have linked
    assert contents(shards) == contents(undisturbed)
    assert set(project.partition_states().values()) == {"MATERIALIZED"}


def reasons(project: Project) -> dict[str, str]:
    """Why the latest run failed: the line for each subject that it names, which are those that Dagster's UI shows."""
    headline, *lines = failure_of_shards(project).description.replace("\n  ", " ").splitlines()
    subjects = sorted(failed(project))
    assert headline.startswith(f"{len(subjects)} of 30 subjects failed: {', '.join(subjects)}")
    return {subject: next((line for line in lines if subject in line), "") for subject in subjects}


@contextlib.contextmanager
def without_shards(built: Project, tree: Path, folder: Path) -> Iterator[Project]:
    """A project whose tables and previews are made and no shards, with a history of its own and a tree to damage."""
    settings = Settings(raw_root=str(tree), data_dir=str(folder / "data"), workers=2)
    with Project.at(folder / "home", settings, built.release) as new:
        copy_all_but_shards(built, new.folder)
        yield new


@pytest.fixture
def shardless(thirty_built: Project, thirty_tree: Path, tmp_path: Path) -> Iterator[Project]:
    """One of thirty subjects."""
    with without_shards(thirty_built, thirty_tree, tmp_path) as new:
        yield new


@pytest.fixture
def few(small_built: Project, small_tree: Path, tmp_path: Path) -> Iterator[Project]:
    """One of six subjects."""
    with without_shards(small_built, small_tree, tmp_path) as new:
        yield new


def test_a_worker_that_is_killed_costs_its_subject_alone(few):
    changes = Changes(few.folder)
    with materializing(few, "subject_shard") as run:
        (killed, worker), *_ = run.freeze_when(lambda: sorted(changes.begun(FIRST).items()))
        os.kill(worker, signal.SIGKILL)
        run.send(signal.SIGCONT)
        run.wait()
    assert failed(few) == {killed}
    assert failure_of_shards(few).description.count("killed by signal 9") == 1
    assert materialized(few) == set(few.release.subjects) - {killed} == finished(few.folder)
    assert_all_is_whole(few.folder)


def test_an_interrupted_run_keeps_what_is_finished_and_no_process(few, small_built):
    changes = Changes(few.folder)
    with materializing(few, "subject_shard") as run:
        assert run.freeze_when(lambda: len(changes.new(RECORDS)) > 1 and changes.begun(FIRST))
        run.send(signal.SIGINT)
        run.send(signal.SIGCONT)
        run.wait()
    done = finished(few.folder)
    assert 1 < len(done) < len(few.release.subjects)
    assert materialized(few) == done == set(few.release.subjects) - failed(few)
    assert_all_is_whole(few.folder)
    assert_next_run_does_only_the_rest(few, SHARD.root(small_built.folder))


@pytest.mark.long
def test_each_bad_subject_is_named_with_its_reason_and_the_others_are_done(shardless, thirty_tree):
    spoilt, missing = SUBJECTS[12], SUBJECTS[24]
    path = thirty_tree / BY_COLUMN["cta"].path(spoilt)
    status, content = path.stat(), path.read_bytes()
    replace(path, content[:-8] + bytes(4) + content[-4:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (thirty_tree / BY_COLUMN["lesion_mask"].path(missing)).unlink()
    changes = Changes(shardless.folder)
    with materializing(shardless, "subject_shard", "hub_dataset") as run:
        killed = min(
            run.freeze_when(lambda: len(changes.new(RECORDS)) > 5 and changes.begun(FIRST).keys() - {spoilt, missing})
        )
        os.kill(changes.begun(FIRST)[killed], signal.SIGKILL)
        run.send(signal.SIGCONT)
        run.wait()

    bad = {spoilt: "CRC", missing: "cannot be read: No such file", killed: "killed by signal 9"}
    assert failed(shardless) == set(bad)
    assert all(reason in reasons(shardless)[subject] for subject, reason in bad.items())
    assert materialized(shardless) == set(SUBJECTS) - set(bad) == finished(shardless.folder)
    for record in shardless.instance.fetch_materializations(dg.AssetKey("subject_shard"), limit=1000).records:
        metadata = record.asset_materialization.metadata
        assert metadata["file default"].value == str(SHARD.path(shardless.folder, CONFIGS[0], record.partition_key))
        assert metadata["written"].value is True
    (latest,) = shardless.instance.get_runs()
    assert {stats.step_key for stats in shardless.instance.get_run_step_stats(latest.run_id)} == {"subject_shard"}
    assert not shardless.folder.hub.exists()
    assert_all_is_whole(shardless.folder)


@pytest.mark.long
def test_workers_killed_at_any_moment_cost_one_subject_each_at_most_and_the_run_ends(shardless, thirty_built):
    changes = Changes(shardless.folder)
    killed: set[int] = set()
    with materializing(shardless, "subject_shard") as run:
        for moment in (
            lambda: run.workers(),
            lambda: len(run.workers() | killed) > 2 and run.workers(),
            lambda: changes.begun(FIRST).values(),
            lambda: len(changes.new(RECORDS)) > 5 and changes.begun(SECOND).values(),
            lambda: len(changes.new(RECORDS)) > 10 and run.workers(),
            lambda: len(changes.new(RECORDS)) > 15 and run.workers(),
        ):
            worker = max(run.freeze_when(lambda moment=moment: set(moment() or ()) - killed))
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
            run.send(signal.SIGCONT)
        run.wait()
    assert 1 <= len(failed(shardless)) <= 6
    assert all("killed by signal 9" in reason for reason in reasons(shardless).values())
    assert materialized(shardless) == set(SUBJECTS) - failed(shardless) <= finished(shardless.folder)
    assert_all_is_whole(shardless.folder)
    assert_next_run_does_only_the_rest(shardless, SHARD.root(thirty_built.folder))


def test_a_worker_that_is_stopped_removes_its_temporary_file(tmp_path):
    outcomes = map_in_processes(hold_or_wait, {"hold": (tmp_path, True), "wait": (tmp_path, False)}, 2)
    assert next(outcomes) == ("wait", None)
    assert temporary_files(tmp_path)
    outcomes.close()
    assert not list(tmp_path.iterdir())


CODE_LOCATION = "isles_assets_tests.thirty"
BUILD = ("dagster", "job", "execute", "-m", CODE_LOCATION, "-j", "build")
MATERIALIZE = (
    "dagster", "asset", "materialize", "-m", CODE_LOCATION, "--select", "subject_shard",
    "--partition-range", f"{SUBJECTS[0]}...{SUBJECTS[-1]}",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "number", "everyone"),
    [(BUILD, signal.SIGINT, True), (MATERIALIZE, signal.SIGTERM, False)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_cancelled_run_keeps_what_is_finished_and_no_process(
    shardless, thirty_built, tmp_path, command, number, everyone
):
    variables = environment(
        PYTHONPATH=str(REPOSITORY),
        DAGSTER_HOME=shardless.instance.root_directory,
        ISLES_RAW_ROOT=shardless.settings.raw_root,
        ISLES_DATA_DIR=shardless.settings.data_dir,
        ISLES_WORKERS="2",
    )
    changes = Changes(shardless.folder)
    with (
        (tmp_path / "log").open("wb") as log,
        running(
            subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log, start_new_session=True)
        ) as run,
    ):
        assert run.freeze_when(lambda: len(changes.new(RECORDS)) > 5 and changes.begun(FIRST))
        if everyone:
            run.send(number)
        else:
            os.kill(run.process.pid, number)
        run.send(signal.SIGCONT)
        run.wait()
        assert run.process.returncode == 1
    assert 5 < len(finished(shardless.folder)) < 20
    assert materialized(shardless) == finished(shardless.folder) == set(SUBJECTS) - failed(shardless)
    assert_all_is_whole(shardless.folder)
    assert_next_run_does_only_the_rest(shardless, SHARD.root(thirty_built.folder))


Moment = Callable[[Run, Changes], Any]


def killed_at(moment: Moment, project: Project, *assets: str, after: int = 0, **options: Any) -> bool:
    """Kill a run of `assets` in that moment, once `after` subjects are done; False if it ended before."""
    changes = Changes(project.folder)
    with materializing(project, *assets, **options) as run:
        return bool(run.freeze_when(lambda: len(changes.new(RECORDS)) >= after and moment(run, changes)))


def workers_start(run: Run, changes: Changes) -> Any:
    return not changes.begun(FIRST) and run.workers()


def first_file_is_written(run: Run, changes: Changes) -> Any:
    return changes.begun(FIRST).keys() - changes.begun(SECOND).keys()


def second_file_is_written(run: Run, changes: Changes) -> Any:
    return changes.begun(SECOND)


def old_record_is_gone(run: Run, changes: Changes) -> Any:
    return changes.gone(RECORDS) - changes.new(SECOND)


def one_file_is_renamed(run: Run, changes: Changes) -> Any:
    return changes.new(SECOND) - changes.new(FIRST)


def both_files_are_renamed(run: Run, changes: Changes) -> Any:
    return changes.new(FIRST) - changes.new(RECORDS) - changes.begun(RECORDS).keys()


def record_is_written(run: Run, changes: Changes) -> Any:
    return changes.begun(RECORDS)


def record_is_there(run: Run, changes: Changes) -> Any:
    return changes.new(RECORDS)


def all_are_recorded(run: Run, changes: Changes) -> Any:
    return len(changes.files(RECORDS)) == len(SUBJECT_IDS) and not changes.begun(RECORDS)


def table_is_written(name: str) -> Moment:
    return lambda run, changes: changes.begun(TABLES).get(name)


MOMENTS_OF_TABLES = [table_is_written(name) for name in ("raw_tree", "clinical", "manifest")]
MOMENTS_OF_SHARDS = [
    (0, workers_start),
    (0, first_file_is_written),
    (0, second_file_is_written),
    (0, old_record_is_gone),
    (0, one_file_is_renamed),
    (0, both_files_are_renamed),
    (0, record_is_written),
    (1, record_is_there),
    (2, one_file_is_renamed),
    (2, both_files_are_renamed),
    (3, old_record_is_gone),
    (3, record_is_written),
    (5, first_file_is_written),
    (6, one_file_is_renamed),
    (8, both_files_are_renamed),
    (10, record_is_there),
    (0, all_are_recorded),
]
"""Each run goes on where the one before was killed: when it has done that many subjects, at least.

Some moments pass unseen with some subjects, so all 149 are needed.
"""

FEW_MOMENTS_OF_SHARDS = [
    (0, first_file_is_written),
    (0, one_file_is_renamed),
    (2, both_files_are_renamed),
    (12, record_is_there),
]
"""For thirty subjects: those between which a file, a shard and a record are begun and done, and all old ones are."""

TRIES = 10


def test_killed_in_the_middle_the_next_run_does_only_the_rest(few, small_built):
    for number, moment in ((0, first_file_is_written), (2, both_files_are_renamed)):
        for _ in range(TRIES):
            if killed_at(moment, few, "subject_shard", after=number, remembered=False):
                break
            shutil.rmtree(SHARD.root(few.folder))  # the run has ended: a busy machine looks too seldom
        else:
            pytest.fail(f"no run was caught at that moment: {moment}")
        assert_all_is_whole(few.folder)
    assert_next_run_does_only_the_rest(few, SHARD.root(small_built.folder))


@contextlib.contextmanager
def outdated(built: Project, root: Path) -> Iterator[Project]:
    """A project like `built` with tables of an earlier tree, and shards of it for some subjects; all below `root`."""
    sample, subjects = built.setup.tree, built.release.subjects
    tree, old = copy_of(sample, root / built.release.record.top), subjects[: len(subjects) * 2 // 5]
    swapped = [BY_COLUMN[config.volumes[0]].path for config in CONFIGS]
    for path in swapped:
        for subject, other in zip(old, subjects[1:], strict=False):
            replace(tree / path(subject), (sample / path(other)).read_bytes())
    settings = Settings(raw_root=str(tree), data_dir=str(root / "data"), workers=2)
    with Project.at(root / "home", settings, built.release) as new:
        with materializing(new, *OF_TABLES, "subject_shard", partitions=old, remembered=False) as run:
            run.wait()
        assert finished(new.folder) == set(old)
        shutil.copy(built.folder.listing, new.folder.listing)
        for path in swapped:
            for subject in old:
                (tree / path(subject)).unlink()
                os.link(sample / path(subject), tree / path(subject))
        yield new


def files_as_in(undisturbed: Path, shards: Path) -> dict[Path, Identity]:
    """The files of those subjects whose record is that of an undisturbed run."""
    records = {path.stem: content_of(path) for path in (undisturbed / "records").iterdir()}
    done = {path.stem for path in (shards / "records").glob("[!.]*") if content_of(path) == records[path.stem]}
    return {path: seen for path, seen in identities(shards).items() if path.stem in done}


@pytest.mark.long
def test_killed_at_twenty_moments_nothing_is_half_written_and_each_run_goes_on(built, tmp_path):
    with outdated(built, tmp_path) as project:
        hold_when_killed(project, built, MOMENTS_OF_TABLES, MOMENTS_OF_SHARDS, tmp_path)


@pytest.mark.long
def test_killed_at_a_few_moments_nothing_is_half_written_and_each_run_goes_on(thirty_built, tmp_path):
    with outdated(thirty_built, tmp_path) as project:
        hold_when_killed(project, thirty_built, MOMENTS_OF_TABLES[2:], FEW_MOMENTS_OF_SHARDS, tmp_path)


def hold_when_killed(
    outdated: Project, built: Project, of_tables: list[Moment], of_shards: list[tuple[int, Moment]], tmp_path: Path
) -> None:
    at_first = tmp_path / "shards at first"
    folder, shards, undisturbed = outdated.folder, SHARD.root(outdated.folder), SHARD.root(built.folder)
    tables = contents(folder.root / TABLES), contents(built.folder.root / TABLES)
    for moment in of_tables:
        runs = (killed_at(moment, outdated, *OF_TABLES, partitions=(), remembered=False) for _ in range(TRIES))
        assert any(runs), "no run was caught at that moment, which is short"
        for name, digest in contents(folder.root / TABLES).items():
            assert name.startswith(".") or digest in {seen[name] for seen in tables}
    assert outdated.materialize(*OF_TABLES, checks=False).success
    assert contents(folder.root / TABLES) == tables[1]

    shutil.copytree(shards, at_first)
    for number, moment in of_shards:
        for _ in range(TRIES):
            kept = files_as_in(undisturbed, shards)
            if killed_at(moment, outdated, "subject_shard", after=number, remembered=moment is all_are_recorded):
                break
            shutil.rmtree(shards)  # the run has ended: a busy machine looks too seldom, and no shard is left to make
            shutil.copytree(at_first, shards)
        else:
            pytest.fail(f"no run was caught at that moment: {moment}")
        assert_all_is_whole(folder)
        assert kept.items() <= identities(shards).items()
    assert_next_run_does_only_the_rest(outdated, undisturbed)


FILL = f"import sys; from {__name__} import on_a_disk_that_fills_up as run; run(*sys.argv[1:])"


@pytest.mark.long
def test_a_disk_that_fills_up_costs_what_was_not_done_yet_and_a_run_with_room_completes(
    thirty_built, thirty_sample_tree, tmp_path
):
    folder = tmp_path / "disk"
    folder.mkdir()
    on_small_disk(folder, "64m", FILL, thirty_sample_tree, folder / "data", thirty_built.folder.root)


def on_a_disk_that_fills_up(tree: str, data: str, undisturbed: str) -> None:
    settings = Settings(raw_root=tree, data_dir=data, workers=2)
    with tempfile.TemporaryDirectory(dir=MEMORY) as home, Project.at(Path(home), settings, THIRTY) as project:
        folder = project.folder
        shutil.copytree(Path(undisturbed, TABLES), folder.root / TABLES)
        changes = Changes(folder)
        with materializing(project, "subject_shard") as run:
            assert run.freeze_when(lambda: len(changes.new(RECORDS)) > 8 and changes.begun(FIRST))
            with contextlib.suppress(OSError), Path(data, "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
            assert shutil.disk_usage(data).free == 0
            run.send(signal.SIGCONT)
            run.wait()
        failure = failure_of_shards(project)
        assert f"{len(failed(project))} of 30 subjects failed" in failure.description
        assert "the disk is full -> free space, or set ISLES_DATA_DIR to a larger disk" in failure.description
        findings = [record.data for record in failure.metadata["findings"].records]
        assert len(findings) == len(failed(project)) > 15
        assert {finding["problem"] for finding in findings} == {"the disk is full"}
        assert {Path(finding["path"]).stem for finding in findings} == failed(project)
        assert materialized(project) == finished(folder) == set(SUBJECTS) - failed(project)
        assert not temporary_files(folder.root)
        assert_all_is_whole(folder)
        Path(data, "filler").unlink()
        assert_next_run_does_only_the_rest(project, Path(undisturbed, "shards"))
