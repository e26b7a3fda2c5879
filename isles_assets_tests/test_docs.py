"""What the pages for people name is there, and what they show is accepted by what it is shown for."""

import json
import re
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
from isles_assets.hub.xet import LIMITS
from isles_assets.lib.progress import EACH_SECONDS_OF_BYTES
from isles_assets.products.building import MAX_LOCAL_SUBJECTS, STAGE_SIZE
from isles_assets.publication.properties import properties_of
from isles_assets.publication.waivers import read_waivers
from isles_assets.release.isles24 import ISLES24

ROOT = Path(__file__).parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
GUIDE = PAGES["docs/operating.md"]
SHOWN = [pytest.param(text, id=name) for name, text in PAGES.items()]


@pytest.fixture(scope="module")
def defs():
    return build_defs(ISLES24, Settings())


def test_the_guide_names_everything_that_an_operator_meets(defs):
    graph = defs.resolve_asset_graph()
    met = {
        "asset": [key.to_user_string() for key in graph.get_all_asset_keys()],
        "check": [key.name for key in graph.asset_check_keys],
        "job": [job.name for job in defs.jobs],
        "sensor": [sensor.name for sensor in defs.sensors],
        "schedule": [schedule.name for schedule in defs.schedules],
        "setting": re.findall(r"^# (ISLES_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE),
    }
    assert all(met.values())
    assert [(kind, name) for kind, names in met.items() for name in names if f"`{name}`" not in GUIDE] == []


def test_the_guide_has_an_entry_for_each_check(defs):
    entries = re.findall(r"^\| `(\w+)`, `(\w+)` \|", GUIDE, re.MULTILINE)
    checks = [(key.name, key.asset_key.to_user_string()) for key in defs.resolve_asset_graph().asset_check_keys]
    assert sorted(entries) == sorted((name, asset) for name, asset in checks if name != "notes")
    assert "| `notes`, on each of these five assets |" in GUIDE
    assert sum(name == "notes" for name, _ in checks) == 5


def test_the_guide_names_the_checks_that_stop_the_same_run():
    (names,) = re.findall(r"A red check that is blocking\s+stops the same run \(([^)]*)\)", GUIDE)
    assert re.findall(r"`(\w+)`", names) == [
        name
        for asset in ("archive_listing", "raw_tree", "clinical_table", "subject_manifest")
        for name in (prop.name for prop in properties_of(ISLES24) if prop.blocking and prop.asset == asset)
    ]


def test_the_guide_says_how_often_progress_is_told_and_when_publishing_is_tried_again(defs):
    assert f"progress, rate, time left in the run's log each {EACH_SECONDS_OF_BYTES:.0f} s" in GUIDE
    policy = defs.resolve_assets_def("hub_dataset").op.retry_policy
    waits = " and ".join(str(policy.calculate_delay(number)) for number in range(1, policy.max_retries + 1))
    assert f"Tried twice more by itself, after {waits} s" in GUIDE and policy.max_retries == 2


@pytest.mark.parametrize("page", SHOWN)
def test_commands_name_jobs_assets_and_partitions_that_exist(defs, page):
    jobs = re.findall(r"dagster job execute[^\n`]* -j (\w+)", page)
    assert set(jobs) <= {job.name for job in defs.jobs}
    assets = {name for names in re.findall(r"--select ([\w,]+)", page) for name in names.split(",")}
    assert assets <= {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    partitions = {
        name for names in re.findall(r"--partition(?:-range)? (sub-[\w.-]+)", page) for name in names.split("...")
    }
    assert partitions <= set(ISLES24.subjects)


@pytest.mark.parametrize("page", SHOWN)
def test_run_config_is_accepted(defs, page):
    """By the one job that has its ops: what is shown in YAML, and as an argument of a command."""
    configs = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]
    configs = [config for config in configs if isinstance(config, dict)]  # a list is of waivers
    configs += [json.loads(text) for text in re.findall(r"--config-json '([^'\n]*)'", page)]
    for config in configs:
        job = "rollback" if "restore_revision" in config["ops"] else "build"
        assert dg.validate_run_config(defs.resolve_job_def(job), config)


@pytest.mark.parametrize("name", ["docs/hub.md", "docs/operating.md"])
def test_the_room_that_a_disk_needs_that_frees_itself_is_what_is_asked_for(name):
    room = ISLES24.record.size * MAX_LOCAL_SUBJECTS / len(ISLES24.subjects)
    page = " ".join(PAGES[name].split())
    assert f"{MAX_LOCAL_SUBJECTS} subjects ({room / 1e9:.0f} GB)" in page and f"each {STAGE_SIZE} " in page


def test_the_guide_gives_what_bounds_the_memory_of_an_upload():
    given = re.findall(r"^\| `(HF_XET_\w+)` \| (\w+) \| \w+ \|$", GUIDE, re.MULTILINE)
    assert given == [(names[0], limit) for names, limit in LIMITS.items()]


def test_the_waiver_in_the_guide_is_one(tmp_path):
    (block,) = (b for b in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL) if b.startswith("- "))
    path = tmp_path / "waivers.yaml"
    path.write_text(block)
    (waiver,) = read_waivers(path)
    assert (waiver.release, waiver.found) == (ISLES24.version, "labels 2")


def anchors(page: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_repository_lead_somewhere(name):
    broken = []
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", PAGES[name]):
        path = (ROOT / name).parent / target if target else ROOT / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            broken.append(f"{target}#{anchor}")
    assert broken == []


def test_the_readme_says_where_code_and_dataset_live_as_the_project_does():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert f"git clone {urls['Repository']}\ncd {urls['Repository'].rpartition('/')[2]}\n" in PAGES["README.md"]
    assert urls["Dataset"] == f"https://huggingface.co/datasets/{ISLES24.repo}"
    assert f'load_dataset("{ISLES24.repo}"' in PAGES["README.md"]
