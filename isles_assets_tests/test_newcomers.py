"""What a newcomer finds beside the code: the pages and files agree with the project."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from isles_assets.release.isles24 import ISLES24

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
NAMES_OF_THE_MODULE = """
from collections.abc import Iterator
from isles_assets.lib.findings import Finding
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties.clinical import *
from isles_assets.publication.property import enforced, properties_of
from isles_assets.release.problems import Problem
from isles_assets.tables.clinical import clinical_values
"""
LOOK_AT = """
import sys
from pathlib import Path
from isles_assets.release.isles24 import ISLES24
from isles_assets.tables.folder import DataFolder

(check,) = (prop for prop in properties_of(ISLES24) if prop.name == "plausible_ages")
print(check.sentence_of(ISLES24), len(check.find(Evidence(Path(), DataFolder(Path(sys.argv[1]), ISLES24)))))
"""


def test_the_citation_is_of_this_project_and_of_the_release():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert "version" not in citation, "the version stands in the package"
    assert [work["doi"] for work in citation["references"]] == [ISLES24.record.doi]


def test_the_hooks_run_what_lint_runs():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    makefile = (REPOSITORY / "Makefile").read_text()
    for hook in hooks:
        assert f"$(VENV)/bin/{hook['name']}" in makefile
        assert hook["entry"].startswith(f".venv/bin/{hook['name']}")


def test_the_workflow_runs_what_continuous_integration_runs():
    (job,) = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yaml").read_text())["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert (REPOSITORY / commands[0]).stat().st_mode & 0o111


def test_what_contributing_names_is_there():
    named = {*re.findall(r"isles_assets(?:_tests)?/[\w/.]+\w", CONTRIBUTING)}
    assert named
    assert not [path for path in named if not (REPOSITORY / path).exists()]
    assert not [
        name for name in re.findall(r"`(test_\w+\.py)`", CONTRIBUTING) if not (Path(__file__).parent / name).exists()
    ]
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert {*re.findall(r"(?:`|^)make ([a-z-]+)", CONTRIBUTING, re.MULTILINE)} <= {*targets}


def test_the_check_in_contributing_is_a_check(small_built):
    (check,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
    code = f"{NAMES_OF_THE_MODULE}\n{check}\n{LOOK_AT}"
    done = subprocess.run(
        [sys.executable, "-c", code, small_built.folder.root], capture_output=True, text=True, check=False
    )
    assert done.stdout == "Every subject is at least 18 years old. 0\n", done.stderr
