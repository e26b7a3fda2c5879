"""One bit is flipped in any file after any stage, its times kept, and the rest of the way is gone.

Then somebody says which file that is, or what is published is right to the last byte: the file was made again, or is
not looked at any more. `ISLES_FLIPS` seeds the choice of files and bits.
"""

import hashlib
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isles_assets.graph.settings import Settings
from isles_assets.release.release import Release
from isles_assets.source.listing import own_listing
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.listing import obtain_listing, write_listing
from isles_assets_tests.isles24 import SMALL
from isles_assets_tests.project import OF_TABLES, Project
from isles_assets_tests.project import flip as flip_in
from isles_assets_tests.toy import TOY

pytestmark = pytest.mark.slow

SEED = os.environ.get("ISLES_FLIPS", "1")
MANY = 10
"""Flips of each kind in the long test."""

ENDS = 40
"""Bytes at both ends of a file that are chosen as often as all between: headers and footers."""

FULL = {"ops": {"subject_manifest": {"config": {"full": True}}}}

VOLUMES, WORKBOOKS = "tree/**/*.nii.gz", "tree/**/*.xlsx"
TABLE = "data/tables/{}.parquet"
SHARDS, SHARD_RECORDS = "data/shards/[!r]*/*.parquet", "data/shards/records/*.json"
PREVIEWS, PREVIEW_RECORDS, JOINED = "data/previews/*.parquet", "data/previews/records/*.json", "data/previews/table/*"
PUBLISHED_DATA, PUBLISHED_TEXT = "data/hub/*/.*/*/**/*.parquet", "data/hub/*/.*/*/**/*[!t]"

OF_TREE = (VOLUMES, WORKBOOKS, *map(TABLE.format, ("archive_listing", "raw_tree", "clinical", "clinical_findings")))
SMALLER_TABLES = (*map(TABLE.format, ("archive_listing", "raw_tree", "clinical_findings", "digests")),)
OF_MANIFEST = (*OF_TREE, *map(TABLE.format, ("manifest", "digests")))

STAGES = {
    "taken stock": (OF_TREE, ("subject_manifest", "subject_shard", "hub_dataset")),
    "surveyed": (OF_MANIFEST, ("subject_shard", "hub_dataset")),
    "built": ((*OF_MANIFEST, SHARDS, SHARD_RECORDS), ("hub_dataset",)),
    "published": ((*OF_MANIFEST, SHARDS, SHARD_RECORDS, PUBLISHED_DATA, PUBLISHED_TEXT), ()),
}
"""Of each stage: the files that there are then, and the assets that are still to be materialized."""

CASES = [(stage, kind) for stage, (kinds, _) in STAGES.items() for kind in kinds]
SOON = [(next(stage for stage, (kinds, _) in STAGES.items() if kind in kinds), kind) for kind in STAGES["published"][0]]
"""Each kind of file at the first stage at which it is there."""


def in_time(case: tuple[str, str]) -> Any:
    """`case`, in the long tests if it is of one of the smaller tables, which are read alike."""
    return pytest.param(*case, marks=pytest.mark.long) if case[1] in SMALLER_TABLES else case


CASES_OF_PREVIEWS = [
    ("built", PREVIEWS), ("built", PREVIEW_RECORDS), ("published", JOINED), ("published", PREVIEWS),
]  # fmt: skip


def copied(folder: Path, to: Path) -> Path:
    """A copy with inodes of its own, links within and times kept."""
    subprocess.run(["cp", "-a", folder, to], check=True)
    return to


def with_listing(tree: Path, folder: Path, release: Release) -> None:
    """Put a copy of a synthetic `tree` into `folder`, with the listing of its own."""
    copied(tree, folder / "tree")
    copied(own_listing(tree), own_listing(folder / "tree"))
    listed(folder, release)


def listed(folder: Path, release: Release) -> None:
    """Take the listing of the tree in `folder` again, as has to be done after both were copied there."""
    data = DataFolder(folder / "data", release)
    write_listing(data, obtain_listing(data, folder / "tree", None))


def at(folder: Path, release: Release):
    """The project in `folder`, which holds `tree` and `data`."""
    settings = Settings(raw_root=str(folder / "tree"), data_dir=str(folder / "data"), workers=1)
    return Project.of(settings, release=release)


def published(folder: Path, release: Release) -> dict[str, str]:
    """The digest of each published file, read now."""
    repo = (folder / "data" / "hub" / release.repo).resolve()
    paths = (path for path in repo.rglob("*") if path.is_file())
    return {path.relative_to(repo).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="session")
def stages(made_once, toy_sample_tree):
    """For each stage a folder with the tree and the data folder as they are then, with volumes read in full or not."""

    def make(folder: Path) -> None:
        for full in (False, True):
            now = folder / f"{full}"
            now.mkdir()
            with_listing(toy_sample_tree, now, TOY)
            with at(now, TOY) as project:
                for stage, assets in zip(
                    STAGES, (OF_TABLES[:2], OF_TABLES[2:], ("subject_shard",), ("hub_dataset",)), strict=True
                ):
                    of_subjects = TOY.subjects if assets == ("subject_shard",) else ()
                    run_config = FULL if full and assets == OF_TABLES[2:] else None
                    assert project.materialize(*assets, partitions=of_subjects, run_config=run_config).success
                    copied(now, folder / f"{stage}, {full}")

    return made_once("toy_stages", make)


@dataclass(frozen=True)
class Flip:
    """A bit that was flipped: the `paths` by which the file is there, its size, the position of the byte, the bit.

    `called` is what the file alone is called: by all of a path, or by its end.
    """

    paths: tuple[Path, ...]
    called: frozenset[str]
    size: int
    position: int
    bit: int

    def is_named_in(self, text: str, release: Release) -> bool:
        """Whether `text` says which file it is: by a path, or as its subject alone."""
        of_path = {subject for subject in release.subjects if any(subject in str(path) for path in self.paths)}
        return (
            any(name in text for name in self.called) or of_path == {s for s in release.subjects if s in text} != set()
        )


def flip(folder: Path, kind: str, chance: random.Random) -> Flip | None:
    """Flip one bit of a file of that kind, in place and with its times kept; None if there is no such file."""
    paths = sorted(path for path in folder.glob(kind) if path.is_file() and path.stat().st_size)
    if not paths:
        return None
    path = chance.choice(paths)
    status = path.stat()
    outer = [*range(min(ENDS, status.st_size)), *range(max(0, status.st_size - ENDS), status.st_size)]
    position = chance.choice([chance.randrange(status.st_size), chance.choice(outer)])
    bit = chance.randrange(8)
    flip_in(path, position, bit)
    everything = [other for other in folder.rglob("*") if other.is_file() and not other.is_symlink()]
    links = [other.relative_to(folder) for other in everything if other.stat().st_ino == status.st_ino]
    ends = Counter(end for other in everything for end in ends_of(other.relative_to(folder)))
    called = frozenset(end for link in links for end in ends_of(link) if ends[end] == 1)
    return Flip(tuple(links), called, status.st_size, position, bit)


def ends_of(path: Path) -> set[str]:
    """All of a relative path, and all ends of it."""
    return {"/".join(path.parts[first:]) for first in range(len(path.parts))}


def trouble(result: dg.ExecuteInProcessResult) -> str:
    """What a run says is wrong, by failed steps and by checks that are red; empty if nothing is."""
    said = []
    for event in result.all_node_events:
        if event.is_step_failure:
            data = event.step_failure_data
            said.append((data.user_failure_data and data.user_failure_data.description) or str(data.error))
    said += [
        evaluation.description or ""
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
    ]
    assert result.success or said
    return "\n".join(said)


def go_on(folder: Path, release: Release, assets: tuple[str, ...], flipped: Flip, right: Mapping[str, str]) -> str:
    """What is wrong with what follows a flip; empty if it is as it should be."""
    with at(folder, release) as project:
        if assets:
            partitions = release.subjects if assets != ("hub_dataset",) else ()
            runs = [project.materialize(*assets, partitions=partitions)]
        else:
            runs = [project.run("verify"), project.materialize("hub_dataset")]
        said = [words for run in runs if (words := trouble(run))]
    is_right = published(folder, release) == right
    for words in said:
        if not flipped.is_named_in(words, release):
            return f"a run failed without naming the file: {words[:1500]}"
    if not said and not is_right:
        return "all is green, and what is published is not right"
    if len(runs) == 2 and not trouble(runs[1]) and not is_right:
        return "it was published again in vain"
    return ""


@pytest.mark.parametrize(("stage", "kind"), [*map(in_time, SOON), ("published", SHARDS)])
def test_a_flipped_bit_is_named_or_does_no_harm(stages, tmp_path, stage, kind):
    hold(stages, tmp_path, stage, kind, 1)


@pytest.mark.long
@pytest.mark.parametrize(("stage", "kind"), CASES)
def test_no_flipped_bit_does_harm_unnamed(stages, tmp_path, stage, kind):
    hold(stages, tmp_path, stage, kind, MANY)


def hold(stages: Path, tmp_path: Path, stage: str, kind: str, times: int) -> None:
    """Flip a bit so many times, each in a copy of its own."""
    wrong = []
    for number in range(times):
        seed = f"{SEED}, {stage}, {kind}, {number}"
        chance = random.Random(seed)
        full = "digests" in kind or chance.random() < 0.5
        right = published(stages / f"published, {full}", TOY)
        folder = copied(stages / f"{stage}, {full}", tmp_path / "now")
        listed(folder, TOY)
        flipped = flip(folder, kind, chance)
        if flipped and (words := go_on(folder, TOY, STAGES[stage][1], flipped, right)):
            wrong.append(f"full {full}, {flipped}: {words}")
        shutil.rmtree(folder)
    assert not wrong, f"ISLES_FLIPS={SEED}\n" + "\n".join(wrong)


@pytest.mark.parametrize(("stage", "kind"), CASES_OF_PREVIEWS)
def test_a_flipped_bit_in_a_preview_is_named_or_does_no_harm(
    small_built_folder, small_sample_tree, tmp_path, stage, kind
):
    folder = tmp_path / "now"
    folder.mkdir()
    copied(small_built_folder / "data", folder / "data")
    with_listing(small_sample_tree, folder, SMALL)
    right = published(folder, SMALL)
    if stage == "built":
        shutil.rmtree(folder / "data" / "hub")
        shutil.rmtree(folder / "data" / "previews" / "table")
    flipped = flip(folder, kind, random.Random(f"{SEED}, {stage}, {kind}"))
    words = go_on(folder, SMALL, ("hub_dataset",) if stage == "built" else (), flipped, right)
    assert not words, f"ISLES_FLIPS={SEED}\n{flipped}: {words}"
