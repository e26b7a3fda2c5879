"""The pilot: a few subjects the whole way to a repo of their own, and nothing of the whole release touched."""

import os
from dataclasses import replace

import dagster as dg
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
from isles_assets.hub.verification import card_valid, remote_matches_local
from isles_assets.lib.findings import Refusal
from isles_assets.pilot.choosing import choose_subjects, pilot_setup
from isles_assets.pilot.running import make_products, publish, verify
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.of_sample import remove_sample
from isles_assets.reading.tree import take_inventory
from isles_assets.release.waivers import Waiver
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.isles24 import ISLES24, SMALL
from isles_assets_tests.processes import REPOSITORY, environment, shown
from isles_assets_tests.project import contents, failure
from isles_assets_tests.test_secrets import DEFINITIONS
from isles_assets_tests.toy import DATASET, SHARD, T1, TOY

REPO, SECRET = TOY.repo, "hf_w"
FIRST, SECOND, THIRD = TOY.subjects[:3]


def run(settings, subjects=(), keep=True, allow_synthetic=False, release=TOY):
    config = {
        "ops": {
            "pilot_products": {"config": {"subjects": list(subjects)}},
            "pilot_publication": {"config": {"allow_synthetic": allow_synthetic}},
            "pilot_verification": {"config": {"keep": keep}},
        }
    }
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(release, settings).resolve_job_def("pilot")
        return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


@pytest.fixture
def settings(toy_sample_tree, tmp_path):
    return Settings(raw_root=str(toy_sample_tree), data_dir=str(tmp_path / "data"), hub_target="local", workers=1)


@pytest.fixture
def folder(settings):
    return settings.setup(DATASET).folder.pilot


def metadata(result, step):
    (output,) = [e for e in result.all_node_events if e.is_successful_output and e.step_key == step]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_a_pilot_goes_the_whole_way_and_touches_nothing_of_the_whole(settings, folder, toy_sample_tree):
    before = contents(toy_sample_tree)
    result = run(settings, [FIRST, THIRD])
    assert result.success
    published = folder / "hub" / f"{REPO}-pilot"
    assert sorted(path.stem for path in (published / "data/train").glob("*")) == [FIRST, THIRD]
    assert [path.name for path in folder.parent.iterdir()] == ["pilot"] and contents(toy_sample_tree) == before

    made = metadata(result, "pilot_products")
    assert made["subjects"] == f"{FIRST}, {THIRD}" and made["left out"] == 4 and FIRST in made["sizes"]
    assert {"url", "seconds", "bytes"} <= metadata(result, "pilot_publication").keys()
    assert metadata(result, "pilot_verification")["findings"] == 0


def test_the_card_says_pilot_and_what_is_missing(settings, folder):
    assert run(settings, [FIRST, THIRD]).success
    card = DatasetCard.load(folder / "hub" / f"{REPO}-pilot" / "README.md")
    assert "**PILOT.** This repo holds 2 of the 6 subjects" in card.text
    assert f"Missing: {', '.join(s for s in TOY.subjects if s not in (FIRST, THIRD))}." in card.text
    assert card.data.pretty_name.startswith("PILOT of SYNTHETIC SAMPLE of")


@pytest.mark.long
def test_the_card_of_a_whole_release_does_not_say_pilot(toy_built):
    assert "PILOT" not in toy_built.setup.target().card()


@pytest.mark.long
def test_repeating_it_changes_nothing_and_other_subjects_replace_the_first(settings, folder):
    assert run(settings, [FIRST, SECOND]).success
    again = run(settings, [FIRST, SECOND])
    assert again.success and metadata(again, "pilot_publication")["changed"] is False
    assert run(settings, [SECOND, THIRD]).success
    published = folder / "hub" / f"{REPO}-pilot"
    assert sorted(path.stem for path in (published / "data/train").glob("*")) == [SECOND, THIRD]
    assert sorted(path.stem for path in (folder / "shards/records").iterdir()) == [SECOND, THIRD]
    assert sorted(path.stem for path in (folder / "shards" / SHARD.configs[0].name).iterdir()) == [SECOND, THIRD]


def test_what_is_published_stays_where_nothing_is_kept(settings, folder):
    assert run(settings, [FIRST], keep=False).success
    assert [path.name for path in folder.iterdir()] == ["hub"]
    assert (folder / "hub" / f"{REPO}-pilot" / "README.md").exists()


def test_previews_and_the_page_of_pictures_go_as_well(small_sample_tree, tmp_path):
    settings = Settings(raw_root=str(small_sample_tree), data_dir=str(tmp_path / "data"), hub_target="local", workers=1)
    subject = SMALL.subjects[1]
    assert run(settings, [subject], release=SMALL).success
    published = tmp_path / "data/pilot/hub" / f"{SMALL.repo}-pilot"
    folds = pq.read_table(next(published.rglob("preview/*.parquet")), columns=["subject_id", "fold"]).to_pylist()
    assert folds == [{"subject_id": subject, "fold": None}]
    assert "holds 1 of the 149 subjects" in (published / "README.md").read_text()


def test_without_config_the_smallest_the_largest_and_one_with_a_waiver_go(toy_sample_tree, tmp_path):
    setup = Settings(raw_root=str(toy_sample_tree), data_dir=str(tmp_path)).setup(DATASET)
    inventory = take_inventory(TOY, toy_sample_tree)
    sizes = {s: sum(inventory[path].size for path in TOY.subject_paths(s)) for s in TOY.subjects}
    ordered = sorted(sizes, key=sizes.__getitem__)
    assert set(choose_subjects(setup)) == {ordered[0], ordered[-1]}
    (tmp_path / "waivers.yaml").write_text(
        f"- {{release: v2, property: ncct_grid, found: off-grid, reason: seen, subject: {ordered[2]}}}\n"
    )
    assert set(choose_subjects(setup)) == {ordered[0], ordered[2], ordered[-1]}


def test_the_release_brings_a_subject_with_a_waiver():
    assert [waiver.subject for waiver in ISLES24.waivers] == ["sub-stroke0016"]
    waived = replace(TOY, waivers=(Waiver("v2", "ncct_grid", "off-grid", "seen", SECOND),))
    assert waived.only([FIRST, SECOND]).waivers == waived.waivers and not waived.only([FIRST]).waivers


def test_an_unknown_subject_or_a_tree_that_is_not_there_is_refused(settings, tmp_path):
    result = run(settings, ["sub-b99"])
    assert "sub-b99: is no subject of the release" in failure(result, "pilot_products")
    of_zenodo = Settings(raw_root="", source="zenodo", data_dir=str(tmp_path / "data"))
    assert "raw_tree first" in failure(run(of_zenodo), "pilot_products")
    assert not (tmp_path / "data").exists()


def test_a_damaged_volume_fails_the_pilot_before_anything_is_published(settings, toy_tree, folder):
    path = toy_tree / T1.path(FIRST)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-9])
    result = run(Settings(raw_root=str(toy_tree), data_dir=settings.data_dir, workers=1), [FIRST])
    assert not result.success and T1.path(FIRST) in failure(result, "pilot_products")
    assert not (folder / "hub").exists()


@pytest.mark.long
def test_damage_at_the_target_is_found(settings, folder):
    assert run(settings, [FIRST]).success
    pilot = pilot_setup(settings.setup(DATASET), [FIRST])
    assert not verify(pilot, print)
    readme = folder / "hub" / f"{REPO}-pilot" / "README.md"
    readme.write_text(readme.read_text() + "x")
    assert any("README.md" in finding.path for finding in verify(pilot, print))


def test_a_part_of_a_tree_is_the_part_of_its_files(toy_sample_tree):
    part = TOY.only([FIRST])
    assert {TOY.subject_of(path) for path in take_inventory(part, toy_sample_tree)} == {FIRST}
    assert TOY.only(TOY.subjects) == TOY and not TOY.only(TOY.subjects).is_part
    assert part.left_out == TOY.subjects[1:] == TOY.only([FIRST, SECOND]).only([FIRST]).left_out


@pytest.mark.long
def test_the_pilot_of_a_sample_is_removed_with_it(tmp_path):
    settings = Settings(data_dir=str(tmp_path / "data"), raw_root="", source="sample", hub_target="local", workers=1)
    assert run(settings, [FIRST]).success
    folder = settings.setup(DATASET).folder
    other = folder.pilot / "notes"
    other.mkdir()
    with pytest.raises(Refusal, match="was not made of the sample"):
        remove_sample(DATASET, folder)
    other.rmdir()
    assert {path.name for path in remove_sample(DATASET, folder)} == {"pilot", "sample"}
    assert not list(folder.root.iterdir())


# The Hub


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub", tokens={SECRET: Token("ada", orgs={"toys": "write"})}) as server:
        yield server


@pytest.fixture
def at_hub(hub, tmp_path, toy_sample_tree):
    with hub.clients(tmp_path / "home"):
        os.environ["HF_TOKEN"] = SECRET
        settings = {"raw_root": str(toy_sample_tree), "data_dir": str(tmp_path / "data"), "workers": 1}
        whole = Settings(**settings, hub_target="huggingface").setup(Dataset.of(TOY))
        pilot = pilot_setup(whole, [FIRST, SECOND])
        make_products(whole, pilot, log=print)
        yield pilot


def test_a_sample_goes_to_a_private_repo_and_only_if_that_is_allowed(hub, at_hub):
    target = at_hub.target(private=True)
    with pytest.raises(Refusal, match="synthetic sample"):
        publish(at_hub, target, allow_synthetic=False)
    assert not hub.store.repos
    publish(at_hub, target, allow_synthetic=True)
    assert list(hub.store.repos) == [f"{REPO}-pilot"] and hub.store.repos[f"{REPO}-pilot"].private
    publication = recorded_publication(at_hub.dataset, at_hub.folder, at_hub.repo)
    said = []
    assert not remote_matches_local(target.pinned(), publication, subjects=(FIRST, SECOND), log=said.append)
    assert f"{len(publication.files)}, " in said[-1] and "read back" in said[-1]
    assert not card_valid(target, publication)


def test_a_public_repo_or_somebody_elses_files_are_refused(hub, at_hub):
    head = hub.put_commit(f"{REPO}-pilot", {"README.md": b"# Theirs\n"})
    with pytest.raises(Refusal, match="is public"):
        publish(at_hub, at_hub.target(private=True), allow_synthetic=True)
    hub.store.repos[f"{REPO}-pilot"].private = True
    with pytest.raises(Refusal, match="somebody else's files"):
        publish(at_hub, at_hub.target(private=True), allow_synthetic=True)
    assert hub.head(f"{REPO}-pilot") == head
    publish(at_hub, at_hub.target(private=True, take_over=head), allow_synthetic=True)
    assert hub.head(f"{REPO}-pilot") != head


@pytest.mark.long
def test_the_command_takes_a_pilot_to_the_hub_without_run_config_but_for_the_sample(hub, tmp_path, toy_sample_tree):
    env = hub.environment(tmp_path / "home", SECRET) | {
        "PATH": environment()["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "DAGSTER_HOME": str(tmp_path),
        "KEPT": SECRET,
        "ISLES_RAW_ROOT": str(toy_sample_tree),
        "ISLES_DATA_DIR": str(tmp_path / "data"),
        "ISLES_HUB_TARGET": "huggingface",
    }
    (tmp_path / "part.py").write_text(DEFINITIONS)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    command = ("dagster", "job", "execute", "-m", "part", "-j", "pilot")
    code, text = shown(*command, cwd=tmp_path, env=env)
    assert code and "would show a synthetic sample to the public" in text and not hub.store.repos
    (tmp_path / "run.yaml").write_text("ops: {pilot_publication: {config: {allow_synthetic: true}}}\n")
    code, text = shown(*command, "-c", "run.yaml", cwd=tmp_path, env=env)
    assert code == 0 and "The pilot is as it should be" in text
    assert list(hub.store.repos) == [f"{REPO}-pilot"] and hub.store.repos[f"{REPO}-pilot"].private
    local = {**env, "ISLES_HUB_TARGET": "local"}
    code, text = shown(*command, cwd=tmp_path, env=local)
    assert code == 0 and str(tmp_path / "data/pilot/hub" / f"{REPO}-pilot") in text
