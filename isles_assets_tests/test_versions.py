"""What pyproject.toml and constraints.txt say of versions is honest: bounded, pinned, and of what is imported."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from isles_assets_tests.processes import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
OPTIONAL = [Requirement(line) for extra in PROJECT["optional-dependencies"].values() for line in extra]
PINS = [Requirement(line) for line in (REPOSITORY / "constraints.txt").read_text().splitlines()]


@pytest.mark.parametrize("dependency", NEEDED + OPTIONAL, ids=str)
def test_a_dependency_has_a_lower_bound_and_a_pin_that_keeps_all_its_bounds(dependency):
    assert any(bound.operator in (">=", "==", "~=") for bound in dependency.specifier), "has no lower bound"
    pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(dependency.name)]
    assert pins, "has no pin in constraints.txt"
    for (pinned,) in (pin.specifier for pin in pins):
        assert pinned.operator == "=="
        assert pinned.version in dependency.specifier


def test_pins_name_nothing_but_a_package_and_its_version():
    assert all(pin.url is None and len(pin.specifier) == 1 for pin in PINS)


def test_what_the_package_imports_is_declared():
    """Under the name of its distribution, and not by grace of another dependency that brings it along."""
    declared = {canonicalize_name(dependency.name) for dependency in NEEDED}
    providers = packages_distributions()
    undeclared = {}
    for path in (REPOSITORY / "isles_assets").rglob("*.py"):
        for module in imported(path.read_text()) - sys.stdlib_module_names - {"isles_assets"}:
            distributions = {canonicalize_name(name) for name in providers.get(module, ())}
            if not distributions & declared:
                undeclared[module] = path.relative_to(REPOSITORY)
    assert not undeclared


def imported(source):
    """The top-level names of the modules that `source` imports anywhere."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(str(node.module).partition(".")[0])
    return modules
