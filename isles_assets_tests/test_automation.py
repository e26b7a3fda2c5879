"""What happens without a person: publishing by itself, nightly checks, a newer release, and messages about failures."""

import json
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import dagster as dg
import pytest

from isles_assets.definitions import build_defs
from isles_assets.graph import webhook
from isles_assets.graph.automation import failed_checks, failed_runs, newer_release
from isles_assets.graph.settings import Settings
from isles_assets.lib.findings import Refusal
from isles_assets.publication.properties import properties_of
from isles_assets_tests.connections import drop
from isles_assets_tests.isles24 import DATASET, SMALL
from isles_assets_tests.materials import workbook
from isles_assets_tests.project import OF_TABLES, PARTITIONED, Project
from isles_assets_tests.project import replace as put
from isles_assets_tests.toy import AGE, CLINIC, TOY
from isles_assets_tests.zenodo_server import Deposit, ZenodoServer

SUBJECTS = SMALL.subjects
PROPERTIES = properties_of(SMALL)
HUB_DATASET = dg.AssetKey("hub_dataset")
SECRET = "b0t-5ecret"


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dataclass
class Ticks:
    """The sensor `publish_when_complete`, each of whose ticks follows what was materialized and checked before it."""

    instance: dg.DagsterInstance
    cursor: Any = None

    def publishes(self) -> bool:
        """Whether the next tick launches `hub_dataset`."""
        result = dg.evaluate_automation_conditions(
            build_defs(SMALL, Settings()),
            self.instance,
            asset_selection=dg.AssetSelection.assets(HUB_DATASET),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return result.total_requested == 1

    def materialize(self, *assets: str, partitions=SUBJECTS, passed=True) -> None:
        for asset in assets:
            for partition in partitions if asset in PARTITIONED else [None]:
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))
            for prop in PROPERTIES:
                if prop.asset == asset and prop.blocking:
                    self.check(prop.name, asset, passed=passed)

    def check(self, name: str, asset: str, *, passed: bool) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=dg.AssetKey(asset), check_name=name, passed=passed, metadata={})
        )


@pytest.fixture
def ticks(instance):
    return Ticks(instance)


def test_it_is_published_once_when_the_last_partition_is_there_and_again_when_something_is_new(ticks):
    assert not ticks.publishes()
    ticks.materialize(*OF_TABLES, "subject_shard")
    assert not ticks.publishes()
    ticks.materialize("subject_preview", partitions=SUBJECTS[:-1])
    assert not ticks.publishes()
    ticks.materialize("subject_preview", partitions=SUBJECTS[-1:])
    assert ticks.publishes()
    assert not ticks.publishes()
    ticks.materialize("hub_dataset")
    assert not ticks.publishes()
    ticks.materialize("subject_shard", partitions=SUBJECTS[4:5])
    assert ticks.publishes()
    assert not ticks.publishes()


def test_what_was_complete_and_unpublished_when_it_is_switched_on_is_published(ticks):
    ticks.materialize(*OF_TABLES, *PARTITIONED)
    assert ticks.publishes()
    assert not ticks.publishes()


def test_what_was_published_when_it_is_switched_on_is_not_published_again(ticks):
    ticks.materialize(*OF_TABLES, *PARTITIONED, "hub_dataset")
    assert not ticks.publishes()


def test_partitions_older_than_the_manifest_are_waited_for(ticks):
    ticks.materialize(*OF_TABLES, *PARTITIONED, "hub_dataset")
    assert not ticks.publishes()
    ticks.materialize("subject_manifest")
    assert not ticks.publishes()
    ticks.materialize("subject_shard")
    ticks.materialize("subject_preview", partitions=SUBJECTS[1:])
    assert not ticks.publishes()
    ticks.materialize("subject_preview", partitions=SUBJECTS[:1])
    assert ticks.publishes()


def test_nothing_is_published_while_a_blocking_check_fails(ticks):
    ticks.materialize(*OF_TABLES, *PARTITIONED)
    assert ticks.publishes()
    assert not ticks.publishes()
    for prop in (prop for prop in PROPERTIES if prop.blocking):
        ticks.check(prop.name, prop.asset, passed=False)
        ticks.materialize("subject_shard", partitions=SUBJECTS[:1])
        assert not ticks.publishes(), prop.name
        ticks.check(prop.name, prop.asset, passed=True)
        assert ticks.publishes(), prop.name
        assert not ticks.publishes(), prop.name


def test_notes_do_not_keep_it_from_publishing(ticks):
    """A real release always has some."""
    ticks.materialize(*OF_TABLES, *PARTITIONED)
    for asset in dict.fromkeys(prop.asset for prop in PROPERTIES):
        ticks.check("notes", asset, passed=False)
    assert ticks.publishes()


def test_a_partition_that_failed_is_waited_for(ticks):
    """Dagster's own record of it decides, not the older materialization that is still there."""
    ticks.materialize(*OF_TABLES, *PARTITIONED, "hub_dataset")
    assert not ticks.publishes()
    nowhere = Project(Settings(raw_root="/nowhere", data_dir="/nowhere"), ticks.instance, SMALL)
    result = nowhere.materialize("subject_shard", checks=False, partitions=SUBJECTS[3:4])
    assert not result.success
    ticks.materialize("subject_preview")
    assert not ticks.publishes()
    ticks.materialize("subject_shard", partitions=SUBJECTS[3:4])
    assert ticks.publishes()


def test_nothing_happens_by_itself_unless_it_is_switched_on(monkeypatch):
    defs = build_defs(SMALL, Settings())
    assert {sensor.name: sensor.default_status.name for sensor in defs.sensors or ()} == {
        "publish_when_complete": "STOPPED",
        "newer_release": "STOPPED",
        "failed_runs": "STOPPED",
        "failed_checks": "STOPPED",
    }
    (nightly,) = defs.schedules or ()
    assert (nightly.name, nightly.job_name, nightly.default_status.name) == ("nightly_verify", "verify", "STOPPED")


@dataclass
class Chat:
    """A server that takes messages, or answers with each of `answers` first; None ends the connection."""

    answers: list[int | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    requests: int = 0

    def __enter__(self) -> Self:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                chat.requests += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = chat.answers.pop(0) if chat.answers else 200
                if answer is None:
                    drop(self, reset=True)
                    return
                if answer == 200:
                    chat.texts.append(body["text"])
                self.send_response(answer)
                self.send_header("Location", f"/elsewhere/{SECRET}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/services/{SECRET}"


@pytest.fixture
def chat(monkeypatch) -> Iterator[Chat]:
    with Chat() as chat:
        monkeypatch.setenv("ISLES_WEBHOOK_URL", chat.url)
        yield chat


@pytest.mark.parametrize("answers", [[], [503, 429], [None]])
def test_a_message_is_posted_also_where_the_server_is_busy_for_a_moment(chat, answers):
    chat.answers.extend(answers)
    webhook.post("Something is wrong.")
    assert chat.texts == ["Something is wrong."] and chat.requests == 1 + len(answers)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([404], "127.0.0.1 answered 404"),
        ([307], "127.0.0.1 answered 307"),
        ([500] * 3, "cannot be reached at 127.0.0.1: RetryError"),
        ([None] * 3, "cannot be reached at 127.0.0.1: ConnectionError"),
    ],
)
def test_a_server_that_does_not_take_it_is_named_without_the_address(chat, answers, says):
    chat.answers.extend(answers)
    with pytest.raises(Refusal, match=says) as refused:
        webhook.post("Something is wrong.")
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    assert not chat.texts and chat.requests == len(answers)


@pytest.mark.parametrize("address", ["", SECRET, f"ftp://somewhere/{SECRET}", f"https:///{SECRET}"])
def test_what_is_no_address_is_refused_without_being_shown(monkeypatch, address):
    monkeypatch.setenv("ISLES_WEBHOOK_URL", address)
    with pytest.raises(Refusal, match="ISLES_WEBHOOK_URL: is not") as refused:
        webhook.post("Something is wrong.")
    assert SECRET not in str(refused.value)


def status_context(project, result, sensor, event):
    return dg.build_run_status_sensor_context(
        sensor_name=sensor,
        dagster_instance=project.instance,
        dagster_run=result.dagster_run,
        dagster_event=next(e for e in result.all_events if e.event_type is event),
    )


def test_a_run_that_failed_is_posted_with_its_reason(toy_project, tmp_path, chat):
    nowhere = tmp_path / "nowhere"
    settings = Settings(raw_root=str(nowhere), data_dir=toy_project.settings.data_dir)
    result = replace(toy_project, settings=settings).materialize("raw_tree")
    context = status_context(toy_project, result, "failed_runs", dg.DagsterEventType.RUN_FAILURE)
    failed_runs(context.for_run_failure())
    (text,) = chat.texts
    headline, reason = text.splitlines()[:2]
    assert headline == f"isles-assets: run {result.run_id} of selected failed."
    assert reason.startswith("raw_tree: ") and str(nowhere) in text


def test_checks_that_failed_in_a_run_that_did_not_are_posted(toy_unbuilt, toy_tree, chat):
    row = {AGE.header: "seventy"}
    put(toy_tree / CLINIC.path(TOY.subjects[1]), workbook([list(row), list(row.values())]))
    result = toy_unbuilt.materialize("raw_tree", "clinical_table")
    assert result.success
    failed_checks(status_context(toy_unbuilt, result, "failed_checks", dg.DagsterEventType.RUN_SUCCESS))
    (text,) = chat.texts
    assert f"run {result.run_id} of selected succeeded, but checks failed." in text
    assert "clinical_table: readable_workbooks failed" in text and "seventy" in text


def test_a_run_that_failed_by_its_checks_is_posted_with_what_they_say(toy_project, chat):
    """With nothing there to be verified."""
    result = toy_project.run("verify")
    assert not result.success
    context = status_context(toy_project, result, "failed_runs", dg.DagsterEventType.RUN_FAILURE)
    failed_runs(context.for_run_failure())
    (text,) = chat.texts
    assert text.startswith(f"isles-assets: run {result.run_id} of verify failed.\nhub_dataset: ")
    assert "card_valid failed" in text and "DagsterAssetCheckFailedError" not in text
    assert len(text) < 1600


def test_of_a_run_in_which_all_is_well_nothing_is_posted(toy_project, chat):
    result = toy_project.materialize("raw_tree")
    assert result.success
    failed_checks(status_context(toy_project, result, "failed_checks", dg.DagsterEventType.RUN_SUCCESS))
    assert not chat.requests


@pytest.fixture
def zenodo(tmp_path):
    archive = tmp_path / "train.7z"
    archive.touch()
    with ZenodoServer(Deposit(SMALL.record, archive)) as server:
        yield server


def ask(zenodo, instance, cursor=None):
    settings = Settings(zenodo_endpoint=zenodo.endpoint)
    resources = {"settings": settings, "dataset": DATASET}
    return newer_release(dg.build_sensor_context(instance, cursor, sensor_name="newer_release", resources=resources))


def test_a_newer_release_is_observed_and_posted_once(zenodo, instance, chat):
    assert ask(zenodo, instance).skip_message == "v7 is the newest version"
    newer = replace(SMALL.record, record="18000000", version="v8")
    zenodo.deposits.append(replace(zenodo.deposits[0], record=newer, date="2026-03-01"))
    result = ask(zenodo, instance)
    (observation,) = result.asset_events
    assert observation.asset_key == dg.AssetKey("zenodo_archive")
    assert observation.metadata["newer version"].value == "v8"
    assert chat.texts == ["Zenodo has v8 of the release, of 2026-03-01: https://zenodo.org/records/18000000"]
    again = ask(zenodo, instance, result.cursor)
    assert again.skip_message == "v8 of 2026-03-01 was reported before" and len(chat.texts) == 1


def test_a_zenodo_that_does_not_answer_is_asked_another_day(zenodo, instance):
    zenodo.__exit__(None, None, None)
    skipped = ask(zenodo, instance)
    assert skipped.skip_message.startswith("Zenodo did not say today whether there is a version after v7: ")
