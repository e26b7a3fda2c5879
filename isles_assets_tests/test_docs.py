"""What the pages for people name is there, and what they show is accepted by what it is shown for."""

import json
import re
from pathlib import Path

import dagster as dg
import pytest
import yaml

from benchmarks.material import ROOM
from isles_assets.definitions import build_defs
from isles_assets.graph import automation
from isles_assets.graph.settings import Settings
from isles_assets.hub import denials, huggingface, verification
from isles_assets.hub.local import KEPT_FOR_READERS
from isles_assets.hub.xet import LIMITS
from isles_assets.lib.progress import LOOP_INTERVAL, STREAM_INTERVAL, WAIT_INTERVAL, readable_bytes, readable_time
from isles_assets.products.building import MAX_LOCAL_SUBJECTS, STAGE_SIZE
from isles_assets.products.dataset import Dataset
from isles_assets.products.preview import tables
from isles_assets.products.preview.left_out import MAX_PLANE_VOXELS
from isles_assets.products.preview.pictures import MAX_BYTES as LARGEST_PICTURES
from isles_assets.products.preview.pictures import THICKNESS
from isles_assets.publication import waivers
from isles_assets.publication.card import LOWEST_DATASETS
from isles_assets.publication.properties import properties_of
from isles_assets.publication.waivers import read_waivers
from isles_assets.release.isles24 import ISLES24
from isles_assets.report.rendering import MAX_PAGE_BYTES
from isles_assets.source.download import MOST_STARTS
from isles_assets.source.listing import BRIEF, MOST_READ
from isles_assets.source.partial import NOTED_EVERY
from isles_assets.source.patience import LEAST_PROGRESS, LONG
from isles_assets.tables.manifest import ROUNDING_MM
from isles_assets_tests.processes import URLS

ROOT = Path(__file__).parent.parent
FILES = (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in FILES}
GUIDE = PAGES["docs/operating.md"]
SHOWN = [pytest.param(text, id=name) for name, text in PAGES.items()]
_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 10: "ten", 30: "thirty"}


def in_words(number: float) -> str:
    """As text has it, or its digits where no page has needed a word yet."""
    return _WORDS.get(int(number), f"{number:g}")


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
    (names,) = re.findall(r"A red check that is blocking stops the same run \(([^)]*)\)", " ".join(GUIDE.split()))
    assert re.findall(r"`(\w+)`", names) == [
        name
        for asset in ("archive_listing", "raw_tree", "clinical_table", "subject_manifest")
        for name in (prop.name for prop in properties_of(ISLES24) if prop.blocking and prop.asset == asset)
    ]


def test_the_guide_says_how_often_progress_is_told_and_when_publishing_is_tried_again(defs):
    assert f"progress, rate, time left in the run's log each {STREAM_INTERVAL:.0f} s" in GUIDE
    policy = defs.resolve_assets_def("hub_dataset").op.retry_policy
    waits = " and ".join(str(policy.calculate_delay(number)) for number in range(1, policy.max_retries + 1))
    assert f"Tried twice more by itself, after {waits} s" in GUIDE and policy.max_retries == 2


_RELEASE = {
    "subjects": len(ISLES24.subjects),
    "volumes": len(ISLES24.volumes),
    "workbooks": len(ISLES24.subjects) * len(ISLES24.workbooks),
    "headers": f"{len(ISLES24.subjects) * len(ISLES24.volumes):,}",
    "variables": len(ISLES24.variables),
    "size": f"{ISLES24.record.size / 1e9:.0f} GB",
}
_INSTANCE = yaml.safe_load((ROOT / "dagster.yaml").read_text())
_MONITORING, _RETENTION = _INSTANCE["run_monitoring"], _INSTANCE["retention"]["sensor"]["purge_after_days"]
_FREED_AT_LAST = 2 * ISLES24.record.size + ISLES24.record.size * MAX_LOCAL_SUBJECTS / len(ISLES24.subjects)
_NIGHTS = -(-len(ISLES24.subjects) // automation._SUBJECTS_PER_NIGHT)
FIGURES = {
    "README.md": [
        "stroke release has {subjects} subjects, each with {volumes} NIfTI volumes and two clinical workbooks: {size}.",
        "all {variables} clinical variables",
        f'pip install "datasets>={LOWEST_DATASETS}" nibabel',
    ],
    "docs/graph.md": [
        "`clinical_table` | {subjects} rows x {variables} typed variables",
        f"`default` has {len(Dataset.of(ISLES24).configs[0].volumes)} volumes",
        "Three of {subjects} partitions",
    ],
    "docs/how-it-works.md": [
        "{volumes} volumes, 2 workbooks",
        "{variables} clinical values",
        "is made from {volumes} files and a clinical row",
        f"never more than {MOST_READ / 1e6:.0f} MB",
        f"together have {in_words(BRIEF.in_all)} seconds",
        f"stalls (less than {LEAST_PROGRESS >> 10} KiB",
        f"up to {in_words(LONG.longest / 60)} minutes",
        f"{in_words(MOST_STARTS)} times at most",
        f"after each {NOTED_EVERY >> 20} MiB",
        f"volumes of up to {verification._LARGEST_FOR_LIBRARY / 1e6:.0f} MB",
        f"stays for {in_words(KEPT_FOR_READERS / 60)} minutes",
        f"one file of each {in_words(huggingface._GROUP_FILES)} came back",
        f"slab of about {max(THICKNESS.values()):g} mm",
        f"at most {LARGEST_PICTURES / 1e3:.0f} kB",
        f"more than {in_words(MAX_PLANE_VOXELS >> 20)} million voxels",
        f"{in_words(tables._ROWS_IN_GROUP)} rows a group",
        "all {subjects} partitions are shown as stale",
        "applies every property to all {subjects} subjects",
    ],
    "docs/operating.md": [
        "the real release ({size}, {subjects} subjects)",
        f"({ISLES24.record.size:,} bytes, md5 `{ISLES24.record.md5}`)",
        f"With `free_disk: true` in `zenodo_archive` and `subject_shard`, {_FREED_AT_LAST / 1e9:.0f} GB do",
        f"up to {STAGE_SIZE - 1} that an earlier run has left, the {STAGE_SIZE} that are being sent, and "
        f"the {STAGE_SIZE} that are being made",
        f"The {len(ISLES24.subjects) % STAGE_SIZE} of {{subjects}} that are left at the end",
        "reads {workbooks} workbooks",
        "reads {headers} headers",
        "`n of {subjects} subjects",
        f"+ {MAX_PAGE_BYTES / 1e6:.1f} MB at most",
        f"sent, {in_words(huggingface._GROUP_FILES)} at a time",
        f"More than {in_words(waivers._NAMED_ONE_BY_ONE)} findings of one kind get one waiver",
        "folders of the {subjects} subjects",
        "{volumes} volumes and 2 workbooks each",
        "{variables} columns, their types",
        f"more than {ROUNDING_MM:g} mm is a note",
        "the manifest: {subjects} x {volumes} volumes",
        f"this went on for {readable_time(LONG.in_all)}` (an hour without progress)",
        f"Up to {denials._LONGEST_PAUSE / 60:.0f} minutes are waited for",
        "once all {subjects} shards",
        f"reading back {in_words(automation._SUBJECTS_PER_NIGHT)} subjects by the day of the month, so that "
        f"{in_words(_NIGHTS)} nights see all {{subjects}}",
        f"{in_words(_INSTANCE['concurrency']['runs']['max_concurrent_runs'])} places of `max_concurrent_runs`",
        f"`max_concurrent_runs: {_INSTANCE['concurrency']['runs']['max_concurrent_runs']}`",
        f"is failed within {_MONITORING['poll_interval_seconds']} s; one that does not start in "
        f"{_MONITORING['start_timeout_seconds'] // 60} min, or does not end "
        f"{_MONITORING['cancel_timeout_seconds'] // 60} min after cancelling, is failed; none lasts longer than "
        f"{in_words(_MONITORING['max_runtime_seconds'] / 86400)} days",
        f"{_RETENTION['success']} days, skipped ones {_RETENTION['skipped']}",
    ],
    "docs/watching.md": [
        f"| each {STREAM_INTERVAL:.0f} s | the rate of your line",
        f"about 8 min left` | each {LOOP_INTERVAL:.0f} s |",
        f"before each group of {in_words(huggingface._GROUP_FILES)} files or more, and each {WAIT_INTERVAL:.0f} s",
        f"or {MAX_LOCAL_SUBJECTS * ISLES24.record.size / len(ISLES24.subjects) / 1e9:.0f} GB with `free_disk`",
        f"`this went on for {readable_time(LONG.in_all)}`",
        f"Up to {denials._LONGEST_PAUSE / 60:.0f} minutes are waited for",
        "`Surveyed {headers} volumes of {subjects} subjects`",
    ],
    "docs/settings.md": ["the release, {size}, is downloaded and extracted"],
    "docs/commands.md": [f"with {ROOM / 1e9:.0f} GB of disk"],
}


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, of_page in FIGURES.items() for said in of_page])
def test_figures_of_the_pages_are_those_of_the_code(name, said):
    assert said.format(**_RELEASE) in " ".join(PAGES[name].split())


def test_figures_of_an_assets_description_are_those_of_the_code(defs):
    description = defs.resolve_asset_graph().get(dg.AssetKey("archive_listing")).description
    assert f"at most {readable_bytes(MOST_READ)}" in description


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
        jobs = {"restore_revision": "rollback", "pilot_products": "pilot", "examination": "doctor"}
        job = next((job for op, job in jobs.items() if op in config["ops"]), "build")
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
    assert f"git clone {URLS['Repository']}\ncd {URLS['Repository'].rpartition('/')[2]}\n" in PAGES["README.md"]
    assert URLS["Dataset"] == f"https://huggingface.co/datasets/{ISLES24.repo}"
    assert f'load_dataset("{ISLES24.repo}"' in PAGES["README.md"]


def test_the_diagram_of_the_chain_of_digests_has_the_links_that_the_table_explains():
    section = PAGES["docs/how-it-works.md"].partition("## The chain of digests")[2].partition("\n## ")[0]
    names = dict(re.findall(r'(\w+)\["([^"]+)"\]', section))
    drawn = re.findall(r'^ +(\w+)(?:\["[^"]+"\])? -- "[^"]+" --> (\w+)', section, re.MULTILINE)
    explained = re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", section, re.MULTILINE)[1:]
    assert explained and [(names[one], names[other]) for one, other in drawn] == explained


def test_the_classes_and_constants_that_the_glossary_names_exist():
    rows = re.findall(r"^\|[^|\n]*\|[^|\n]*\|([^|\n]*)\|$", PAGES["docs/glossary.md"], re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(?:[a-z]\w*\.)*([A-Z]\w+)[.\w]*`", row)}
    source = "\n".join(path.read_text() for path in (ROOT / "isles_assets").rglob("*.py"))
    assert {"Release", "RepoState", "BACKUP_TAG"} <= names
    defined = set(re.findall(r"^(?:class )?([A-Z]\w+)(?:\(|\[|:| =)", source, re.MULTILINE))
    assert names - defined == set()
