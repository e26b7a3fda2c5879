"""What `isles24 doctor` says before a run: each line made to fail, and which of them would make the run fail."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from isles_assets.definitions import build_defs
from isles_assets.doctor import folder as of_folder
from isles_assets.doctor import target as of_target
from isles_assets.doctor import versions
from isles_assets.doctor.examination import examine
from isles_assets.doctor.folder import folder_lines, room_lines
from isles_assets.doctor.lines import Line, Status, Topic, blockers, fine
from isles_assets.doctor.settings import settings_lines
from isles_assets.doctor.target import target_lines
from isles_assets.doctor.tree import archive_and_tree_lines, listing_lines, listing_of, tree_lines
from isles_assets.doctor.versions import version_lines
from isles_assets.doctor.zenodo import rate_lines, record_lines
from isles_assets.graph.examining import instance_lines
from isles_assets.graph.settings import Settings
from isles_assets.lib.env_file import load_env_file
from isles_assets.lib.threads import NoAnswerError, answer_within
from isles_assets.products.dataset import Dataset
from isles_assets.settings.fields import SettingFields
from isles_assets_tests.conftest import copy_of
from isles_assets_tests.hub_server import HubServer, Token, hold, status
from isles_assets_tests.processes import as_nobody, environment, free_port, on_small_disk, reachable_folder, shown
from isles_assets_tests.test_listing import pack_names
from isles_assets_tests.toy import DATASET, T1, TOY
from isles_assets_tests.zenodo_server import Cut, Deposit, Stall, Trickle, ZenodoServer, record_of
from isles_assets_tests.zenodo_server import Status as Answer

REPO, SECRET = TOY.repo, "hf_w"
SUBJECT = TOY.subjects[0]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith("ISLES_"):
            monkeypatch.delenv(name)


def setup_of(release=TOY, **settings):
    return Settings(**{"listing": "off", **settings}).setup(Dataset.of(release))


def only(lines, status_):
    return [line for line in lines if line.status is status_]


def blocker(lines) -> Line:
    (line,) = blockers(lines)
    return line


# Settings


def test_settings_say_where_they_come_from_and_keep_secrets(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("ISLES_HUB_REPO=toys/of-file\nISLES_WORKERS=2\nHF_TOKEN=hf_filefilefilefilefile\n")
    monkeypatch.setenv("ISLES_WORKERS", "3")
    monkeypatch.setenv("ISLES_HUB_REPO", "")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("ISLES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ISLES_WEBHOOK_URL", "https://hooks.example.org/very-secret")
    replaced = load_env_file(tmp_path)
    lines = list(settings_lines(Settings(hub_target="local"), DATASET, tmp_path, replaced))
    text = "\n".join(line.what for line in lines)
    assert "ISLES_HUB_REPO=toys/of-file (.env)" in text and "ISLES_WORKERS=2 (.env)" in text
    assert f"ISLES_DATA_DIR={tmp_path / 'data'} (environment)" in text
    assert "ISLES_HUB_TARGET=local (run config)" in text and "ISLES_SOURCE=sample" in text.partition("by default")[2]
    assert "HF_TOKEN=***" in text and "filefile" not in text and "very-secret" not in text
    assert [line.what for line in only(lines, Status.NOTE)] == [
        f"{name} is set in the environment, too: `.env` replaces that value"
        for name in ("ISLES_HUB_REPO", "ISLES_WORKERS", "HF_TOKEN")
    ]


def test_the_file_wins_as_with_dagsters_commands(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("ISLES_WORKERS=2\n")
    monkeypatch.setenv("ISLES_WORKERS", "3")
    print_it = [sys.executable, "-c", "import os; print(os.environ['ISLES_WORKERS'])"]
    code = f"import subprocess; subprocess.run({print_it!r}, check=True)"
    module = tmp_path / "shows.py"
    module.write_text(f"import dagster as dg\n{code}\ndefs = dg.Definitions()\n")
    env = environment(DAGSTER_HOME=str(tmp_path), ISLES_WORKERS="3", PYTHONPATH=str(tmp_path))
    (tmp_path / "dagster.yaml").touch()
    assert "2" in shown("dagster", "definitions", "validate", "-m", "shows", cwd=tmp_path, env=env)[1].splitlines()
    load_env_file(tmp_path)
    assert os.environ["ISLES_WORKERS"] == "2"


def test_a_misspelled_setting_is_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("ISLES_SORUCE", "zenodo")
    (note,) = only(settings_lines(SettingFields(), DATASET, tmp_path), Status.NOTE)
    assert (note.what, note.mend) == ("ISLES_SORUCE is set, and is no setting", "did you mean ISLES_SOURCE?")


@pytest.mark.parametrize(
    ("name", "value"),
    [("ISLES_SOURCE", "zenod"), ("ISLES_WORKERS", "many"), ("ISLES_HUB_REPO", "x"), ("ISLES_PARTITIONS_PER_RUN", "0")],
)
def test_an_unusable_setting_blocks_and_is_all_that_is_examined(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    lines = examine(SettingFields(), DATASET, tmp_path, instance=list)
    assert value in blocker(lines).what and blocker(lines).mend
    assert {line.topic for line in lines} == {Topic.SETTINGS, Topic.VERSIONS, Topic.FOLDER}


# Versions


def test_versions_are_judged_by_bounds_and_pins(tmp_path, monkeypatch):
    assert not blockers(version_lines())
    (tmp_path / "pins").write_text("numpy==1.0\nno-such-package==1\n")
    (note,) = only(version_lines(tmp_path / "pins"), Status.NOTE)
    assert "numpy" in note.what and "(1.0)" in note.what and "make setup" in note.mend
    needed = ["numpy>=99", "no-such-package>=1", 'gone>=1; extra == "dev"']
    monkeypatch.setattr(versions, "requires", lambda name: needed)
    too_old, missing = blockers(version_lines(tmp_path / "none"))
    assert ">=99 is needed" in too_old.what and "no no-such-package is installed" in missing.what


def test_another_python_is_noted():
    assert versions._python(sys.version_info[:2]).status is Status.FINE
    assert versions._python((3, 99)).status is Status.NOTE


# Data folder


def test_the_folder_that_does_not_exist_yet_is_tried_above_and_nothing_is_left(tmp_path):
    lines = list(folder_lines(setup_of(data_dir=str(tmp_path / "new" / "data"))))
    assert not blockers(lines) and "can be written to; hard links, locks" in lines[0].what
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_folder_that_may_not_be_written_to_blocks():
    with reachable_folder() as folder:
        (folder / "data").mkdir(mode=0o755)
        found = as_nobody(_lines_of_folder, str(folder / "data"))
    assert "writing is not permitted" in blocker(found).what and "ISLES_DATA_DIR" in blocker(found).mend


def _lines_of_folder(data):
    return list(folder_lines(setup_of(data_dir=data)))


def test_a_file_in_the_place_of_the_folder_blocks(tmp_path):
    (tmp_path / "data").touch()
    assert "is a file" in blocker(folder_lines(setup_of(data_dir=str(tmp_path / "data")))).what


ROOM = """
import sys
from isles_assets.graph.settings import Settings
from isles_assets.doctor.folder import folder_lines
from isles_assets.products.dataset import Dataset
from isles_assets.release.isles24 import ISLES24
setup = Settings(data_dir=sys.argv[1], raw_root="", source="zenodo", hub_target="local").setup(Dataset.of(ISLES24))
print(*(f"{line.status}: {line.what} -> {line.mend}" for line in folder_lines(setup)), sep="\\n")
"""


def test_a_small_disk_blocks_the_release(tmp_path):
    told = on_small_disk(tmp_path, "8m", ROOM, tmp_path / "data")
    assert "blocker: " in told and "a run still writes 297 GB: train.7z 99 GB, train 99 GB, shards 99 GB" in told


def test_where_only_free_disk_fits_a_note_says_so_and_only_for_the_hub(tmp_path, monkeypatch):
    free = [250_000_000_000]
    monkeypatch.setattr(of_folder, "free_space", lambda path: free[0])

    def found(target):
        settings = {"raw_root": "", "source": "zenodo", "hub_target": target, "data_dir": str(tmp_path)}
        (line,) = room_lines(Settings(**settings).setup(of_release()))
        return line

    assert found("local").status is Status.BLOCKER
    note = found("huggingface")
    assert note.status is Status.NOTE and "207 GB with free_disk" in note.what and "free_disk" in note.mend
    free[0] = 300_000_000_000
    assert found("local").status is Status.FINE
    free[0] = 100_000_000_000
    assert found("huggingface").status is Status.BLOCKER


def of_release():
    from isles_assets.release.isles24 import ISLES24

    return Dataset.of(ISLES24)


def test_less_room_is_needed_for_what_is_there(tmp_path, toy_sample_tree):
    setup = setup_of(raw_root=str(toy_sample_tree), data_dir=str(tmp_path))
    (before,) = room_lines(setup)
    for path in (tmp_path / "shards" / "default" / "one.parquet", tmp_path / "previews" / "one.parquet"):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1_000_000))
    (after,) = room_lines(setup)
    assert "shards 210 kB, previews 70 MB" in before.what and "writes next to nothing" in after.what


@pytest.mark.parametrize("lacking", ["hardlink_to", "locks"])
def test_a_file_system_that_lacks_links_or_locks(tmp_path, monkeypatch, lacking):
    """No such file system can be made here, so its errors are."""

    def not_supported(*args):
        raise OSError(95, "Operation not supported")

    if lacking == "locks":
        monkeypatch.setattr(of_folder, "lock", not_supported)
    else:
        monkeypatch.setattr(Path, lacking, not_supported)
    lines = [line for line in folder_lines(setup_of(data_dir=str(tmp_path / "data"))) if line.status is not Status.FINE]
    assert [(line.status, "no " in line.what) for line in lines] == [
        (Status.BLOCKER if lacking == "locks" else Status.NOTE, True)
    ]


def test_the_sample_does_not_replace_shards_of_a_release(toy_built_copy, monkeypatch):
    folder = toy_built_copy.folder
    setup = setup_of(data_dir=str(folder.root))
    assert not blockers(folder_lines(setup))
    from isles_assets.products.building import read_sidecars
    from isles_assets.products.sidecar import store_sidecar

    (shard,) = DATASET.products
    first = read_sidecars(shard, folder)[0]
    store_sidecar(shard.sidecar_path(folder, first.subject), replace(first, synthetic=False))
    assert "holds shards of a real release" in blocker(folder_lines(setup)).what


# Zenodo


@pytest.fixture
def archive(tmp_path):
    path = pack_names(tmp_path / "toys.7z", TOY, TOY.expected_paths())
    path.write_bytes(path.read_bytes())
    return path


@pytest.fixture
def zenodo(archive):
    with ZenodoServer(Deposit(record_of(archive, TOY.record), archive)) as server:
        yield server


def release_of(server):
    return replace(TOY, record=server.deposits[0].record)


def from_zenodo(server, tmp_path, **more):
    settings = {"raw_root": "", "source": "zenodo", "listing": "on", "data_dir": str(tmp_path / "data")}
    return setup_of(release_of(server), zenodo_endpoint=server.endpoint, **{**settings, **more})


def test_zenodo_is_asked_for_the_record_a_range_and_a_rate(zenodo, tmp_path):
    setup = from_zenodo(zenodo, tmp_path)
    lines = [*record_lines(setup), *rate_lines(setup)]
    assert {line.status for line in lines} == {Status.FINE}
    assert "md5 as pinned" in lines[0].what and "sends ranges; " in lines[1].what and " take 0 s" in lines[1].what
    assert [seen.status for seen in zenodo.downloads] == [206]
    assert not (tmp_path / "data").exists()


def test_a_newer_version_is_noted(zenodo, tmp_path, archive):
    setup = from_zenodo(zenodo, tmp_path)
    newer = replace(zenodo.deposits[0].record, record="7654321", version="v3")
    zenodo.deposits.append(Deposit(newer, archive))
    (note,) = only(record_lines(setup), Status.NOTE)
    assert "a newer version is there: v3" in note.what


def test_another_md5_or_a_withdrawn_record_blocks(zenodo, tmp_path):
    setup = from_zenodo(zenodo, tmp_path)
    zenodo.api_faults.append(Answer(410))
    assert "410" in blocker(record_lines(setup)).what
    zenodo.deposits[0].record = replace(zenodo.deposits[0].record, md5="f" * 32)
    assert "is pinned" in blocker(record_lines(setup)).what


@pytest.mark.parametrize("fault", [Answer(503), Answer(200), Cut(0), Stall(0)], ids=lambda fault: repr(fault)[:11])
def test_a_zenodo_that_sends_no_parts_blocks(zenodo, tmp_path, monkeypatch, fault):
    from isles_assets.doctor import zenodo as of_zenodo

    monkeypatch.setattr(of_zenodo, "BRIEF", replace(of_zenodo.BRIEF, stall=0.2))
    zenodo.faults.append(fault)
    assert blocker(rate_lines(from_zenodo(zenodo, tmp_path))).mend


def test_a_slow_zenodo_is_measured_for_a_second_and_noted(zenodo, tmp_path, monkeypatch):
    from isles_assets.doctor import zenodo as of_zenodo

    monkeypatch.setattr(of_zenodo, "_MEASURED_FOR", 0.1)
    monkeypatch.setattr(of_zenodo, "_SLOW", 0)
    zenodo.faults.append(Trickle(10))
    (note,) = only(rate_lines(from_zenodo(zenodo, tmp_path)), Status.NOTE)
    assert "/s (measured on " in note.what


def test_an_unreachable_zenodo_blocks_only_the_source_zenodo(tmp_path, toy_sample_tree):
    nobody = f"http://127.0.0.1:{free_port()}"
    given = setup_of(raw_root=str(toy_sample_tree), zenodo_endpoint=nobody, data_dir=str(tmp_path))
    assert "Connection refused" in blocker(record_lines(replace(given, origin="zenodo", tree=tmp_path / "none"))).what
    assert not blockers([*record_lines(given), *rate_lines(given)])
    assert not blockers(record_lines(replace(given, origin="zenodo")))  # the tree is there


def test_a_zenodo_that_does_not_answer_is_told_once(tmp_path, monkeypatch):
    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("ISLES_DATA_DIR", str(tmp_path / "data"))
    fields = SettingFields(source="zenodo", listing="off", zenodo_endpoint=nobody)
    lines = examine(fields, DATASET, tmp_path, instance=list)
    assert blocker(lines).what.startswith(f"{nobody}: ")


# Listing and tree


def test_a_listing_without_a_file_of_the_release_blocks(zenodo, tmp_path):
    setup = from_zenodo(zenodo, tmp_path)
    assert not blockers(listing_lines(setup, listing_of(setup)))
    pack_names(tmp_path / "other.7z", TOY, TOY.expected_paths()[1:])
    zenodo.deposits[0] = Deposit(record_of(tmp_path / "other.7z", TOY.record), tmp_path / "other.7z")
    setup = from_zenodo(zenodo, tmp_path)
    line = blocker(listing_lines(setup, listing_of(setup)))
    assert TOY.expected_paths()[0] in line.what and "listed_as_expected" in line.what


def test_no_listing_is_a_note_unless_it_was_switched_off(zenodo, tmp_path):
    zenodo.api_faults.extend([Answer(404)] * 2)
    setup = from_zenodo(zenodo, tmp_path, raw_root=str(tmp_path / "nothing"))
    (line,) = listing_lines(setup, listing_of(setup))
    assert line.status is Status.NOTE and "404" in line.what
    off = setup_of(raw_root=str(tmp_path / "nothing"), listing="off", data_dir=str(tmp_path / "d"))
    (line,) = listing_lines(off, listing_of(off))
    assert line.status is Status.FINE


def test_a_tree_is_compared_by_names_and_sizes(tmp_path, toy_sample_tree):
    tree = copy_of(toy_sample_tree.parent, tmp_path / "copy") / TOY.record.top
    setup = setup_of(raw_root=str(tree), data_dir=str(tmp_path / "data"))
    (line,) = tree_lines(setup, listing_of(setup))
    assert line.status is Status.FINE and "by name and size as listed" in line.what
    path = tree / T1.path(SUBJECT)
    content = path.read_bytes()
    path.unlink()
    assert any(T1.path(SUBJECT) in line.what for line in blockers(tree_lines(setup, listing_of(setup))))
    path.write_bytes(content + b"x")
    line = blocker(tree_lines(setup, listing_of(setup)))
    assert line.what.startswith("as_listed: ") and T1.path(SUBJECT) in line.what


def test_a_tree_that_is_not_there_blocks_only_if_it_was_given(tmp_path):
    given = setup_of(raw_root=str(tmp_path / "none"), data_dir=str(tmp_path / "data"))
    assert "there is no such folder" in blocker(tree_lines(given, listing_of(given))).what
    sample = setup_of(data_dir=str(tmp_path / "data"))
    assert not blockers(tree_lines(sample, listing_of(sample)))


def test_waivers_that_cannot_be_read_block(tmp_path, toy_sample_tree):
    (tmp_path / "waivers.yaml").write_text("- property: x\n")
    setup = setup_of(raw_root=str(toy_sample_tree), data_dir=str(tmp_path))
    lines = list(archive_and_tree_lines(setup))
    assert lines and len(set(lines)) == len(lines)
    assert all(line.status is Status.BLOCKER and "waivers.yaml" in line.what for line in lines)


# Hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    tokens = {SECRET: Token("ada", orgs={"toys": "write"}), "hf_read": Token("bob", role="read", orgs={"toys": "read"})}
    with HubServer(tmp_path / "hub", tokens=tokens) as server, server.clients(tmp_path / "home"):
        os.environ["HF_TOKEN"] = SECRET
        yield server


def at_hub(tree, data, **more):
    return setup_of(raw_root=str(tree), data_dir=str(data), hub_target="huggingface", **more)


def test_a_repo_that_is_not_there_will_be_made(hub, tmp_path, toy_sample_tree):
    lines = list(target_lines(at_hub(toy_sample_tree, tmp_path / "data")))
    assert not blockers(lines) and "the token is ada's" in lines[0].what and "`write` in toys" in lines[0].what
    assert any("will be made" in line.what for line in lines)
    assert all(request.method == "GET" for request in hub.requests)
    assert not hub.store.repos


def test_somebody_elses_files_block_until_they_are_to_be_taken_over(hub, tmp_path, toy_sample_tree):
    head = hub.put_commit(REPO, {"README.md": b"# Theirs\n", "data/train-0.parquet": b"PAR1"})
    setup = at_hub(toy_sample_tree, tmp_path / "data")
    line = blocker(target_lines(setup))
    assert head in line.what and f"take_over: {head}" in str(line.mend)
    lines = list(target_lines(setup, head))
    assert not blockers(lines) and any("public; `main` is at" in line.what for line in lines)
    assert hub.head(REPO) == head


@pytest.mark.parametrize(
    ("token", "words"),
    [("hf_read", "may only read"), ("hf_unknown", "401"), ("", "there is no token")],
)
def test_a_token_that_may_not_write_blocks(hub, tmp_path, toy_sample_tree, monkeypatch, token, words):
    monkeypatch.setenv("HF_TOKEN", token)
    assert words in blocker(target_lines(at_hub(toy_sample_tree, tmp_path / "data"))).what


def test_a_role_that_does_not_write_is_noted_and_the_hubs_own_denial_blocks(hub, tmp_path, toy_sample_tree):
    hub.tokens[SECRET] = Token("ada", orgs={"toys": "contributor"})
    setup = at_hub(toy_sample_tree, tmp_path / "data")
    (note,) = only(target_lines(setup), Status.NOTE)
    assert "resource group" in note.what
    hub.put_commit(REPO, {"LICENSE": b"MIT"}, private=True)
    hub.fail(method="GET", path="/xet-write-token/", how=status(403), times=9)
    assert "403" in "".join(line.what for line in blockers(target_lines(setup)))


def test_a_hub_that_is_silent_blocks_in_time(hub, tmp_path, toy_sample_tree, monkeypatch):
    monkeypatch.setattr(of_target, "_PATIENCE", 0.2)
    hub.fail(path="/whoami", how=hold())
    assert (
        "the Hub gives no answer: nothing within 0 s"
        in blocker(target_lines(at_hub(toy_sample_tree, tmp_path / "data"))).what
    )


def test_an_unreachable_hub_blocks_only_the_target_hub(tmp_path, toy_sample_tree, hub):
    hub.fail(how=status(500), times=99)
    assert blockers(target_lines(at_hub(toy_sample_tree, tmp_path / "data")))
    assert not blockers(target_lines(setup_of(raw_root=str(toy_sample_tree), data_dir=str(tmp_path / "data"))))


def test_somebody_elses_folder_blocks_the_local_target(tmp_path):
    (tmp_path / "data" / "hub" / REPO).mkdir(parents=True)
    assert "somebody else's" in blocker(target_lines(setup_of(data_dir=str(tmp_path / "data")))).what


# Instance, job and command


def test_runs_in_progress_are_noted_and_the_database_is_measured(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert not only(instance_lines(instance), Status.NOTE)
        run = dg.DagsterRun(job_name="build", run_id="5" * 32, status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        (note,) = only(instance_lines(instance), Status.NOTE)
        assert "job build is started: run 55555555" in note.what
        assert not only(instance_lines(instance, but=run.run_id), Status.NOTE)
        assert any("the run database in" in line.what for line in instance_lines(instance))


def test_a_full_disk_of_the_run_database_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("isles_assets.graph.examining.free_space", lambda path: 1000)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert "1 kB free" in blocker(instance_lines(instance)).what


def run_job(settings):
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(TOY, settings).resolve_job_def("doctor")
        return job.execute_in_process(instance=instance, raise_on_error=False)


def test_the_job_shows_all_lines_and_fails_with_the_mends(tmp_path, toy_sample_tree):
    settings = {"raw_root": str(toy_sample_tree), "data_dir": str(tmp_path / "data"), "listing": "off"}
    result = run_job(Settings(**settings))
    (output,) = [event for event in result.all_node_events if event.is_successful_output]
    table = output.step_output_data.metadata["lines"].value
    assert result.success and all(topic in table for topic in Topic)
    (tmp_path / "data" / "hub" / REPO).mkdir(parents=True)
    failed = run_job(Settings(**settings))
    (event,) = [event for event in failed.all_node_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert "1 blocker" in failure.description and "somebody else's -> move it away" in failure.description
    assert "move it away" in failure.metadata["lines"].value and failure.metadata["offenders"].value == 1


@pytest.mark.long
def test_the_command_ends_with_0_only_without_blockers(tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    command = (sys.executable, "-m", "isles_assets.cli", "doctor")
    env = environment(DAGSTER_HOME=str(tmp_path), PYTHONPATH=os.pathsep.join(sys.path))
    code, text = shown(*command, cwd=tmp_path, env=env)
    assert code == 0 and text.rstrip().endswith("Nothing stands in the way of a run; 0 notes.")
    assert "no run is in progress" in text and len(text.splitlines()) < 40
    (tmp_path / "data").touch()
    code, text = shown(*command, "--json", cwd=tmp_path, env=env)
    lines = json.loads(text)
    assert code == 1 and {line["topic"] for line in lines} >= {"settings", "versions", "data folder", "instance"}
    assert [line["what"] for line in lines if line["status"] == "blocker"] == [f"{tmp_path / 'data'} is a file"]


def test_an_answer_that_does_not_come_in_time_is_not_waited_for():
    import threading

    never = threading.Event()
    with pytest.raises(NoAnswerError):
        answer_within(0.01, never.wait)
    never.set()
    with pytest.raises(ZeroDivisionError):
        answer_within(9, lambda: 1 / 0)
    assert answer_within(9, lambda: fine(Topic.TREE, "x")).what == "x"
