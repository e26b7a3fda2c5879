"""The arrows between the rooms of the package: who may know whom. A folder of the package is a room."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import isles_assets

PACKAGE = Path(isles_assets.__file__).parent
ROOMS = (
    *("lib", "release", "reading", "source", "tables", "products"),
    *("publication", "report", "hub", "published", "settings", "doctor", "pilot", "sample", "cli", "graph"),
)
MAY_IMPORT = {
    "lib": set(),
    "release": {"lib"},
    "reading": {"lib", "release"},
    "source": {"lib", "release"},
    "tables": {"lib", "release", "reading", "source"},
    "products": {"lib", "release", "reading", "tables"},
    "publication": {"lib", "release", "reading", "tables", "products"},
    "report": {"lib", "release", "tables", "products", "publication"},
    "hub": {"lib", "release", "reading", "tables", "products", "publication"},
    "published": {"lib", "release", "reading", "tables", "products", "hub"},
    "settings": {"lib", "release", "tables", "products", "source", "hub"},
    "doctor": {"lib", "release", "reading", "source", "tables", "products", "publication", "hub", "settings"},
    "pilot": {"lib", "release", "reading", "tables", "products", "publication", "hub", "settings"},
    "sample": {"lib", "release", "reading", "source"},
    "cli": {
        *("lib", "release", "reading", "tables", "products", "publication", "hub"),
        *("published", "settings", "doctor", "sample"),
    },
    "graph": set(ROOMS) - {"cli"},
}
KNOW_ISLES24 = {"__init__.py", "release/default.py"}
USE_THE_DEFAULT = {
    *("definitions.py", "published/clinical_frame.py", "cli/doctor.py", "cli/export.py"),
    *("cli/reset_demo.py", "cli/restore.py", "cli/sample.py", "cli/summary.py"),
}
MAKE_THE_SAMPLE = {"cli/sample.py", "graph/assets.py"}
COMMAND = re.compile(r"\b(dagster (asset|job|dev|run|definitions)|dg (launch|check|list))\b")
OF_A_RELEASE = re.compile(r"isles'?24|stroke|ncct|lesion|zenodo", re.IGNORECASE)


def modules(*rooms: str) -> dict[str, str]:
    """The source of every module, by its path in the package; of some rooms, if any is named."""
    paths = sorted(path for path in PACKAGE.rglob("*.py"))
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in paths}
    return {name: source for name, source in sources.items() if not rooms or room_of(name) in rooms}


def room_of(module: str) -> str:
    return module.partition("/")[0]


def imported(source: str) -> Iterator[str]:
    """The full names of the modules that `source` imports anywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_folder_is_a_room_and_only_the_code_location_lies_beside_them():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ROOMS)
    assert {path.name for path in PACKAGE.glob("*.*")} == {"__init__.py", "definitions.py", "py.typed"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_that_it_may_know(room):
    known = {
        (module, name.split(".")[1])
        for module, source in modules(room).items()
        for name in imported(source)
        if name.startswith("isles_assets.") and name.split(".")[1] != "__version__"
    }
    strangers = {(module, other) for module, other in known if other != room and other not in MAY_IMPORT[room]}
    assert not strangers


def test_nothing_but_graph_and_the_code_location_imports_dagster():
    names = {module for module, source in modules().items() if any(n.startswith("dagster") for n in imported(source))}
    assert {room_of(name) for name in names} == {"graph", "definitions.py"}


@pytest.mark.parametrize("room", ROOMS[:-1])
def test_nothing_but_graph_names_a_command_of_dagster(room):
    assert not [module for module, source in modules(room).items() if COMMAND.search(source)]


def test_only_the_command_and_the_asset_that_make_the_sample_import_it():
    users = {
        module
        for module, source in modules().items()
        for name in imported(source)
        if name.startswith("isles_assets.sample") and room_of(module) != "sample"
    }
    assert users == MAKE_THE_SAMPLE


@pytest.mark.parametrize(("module", "users"), [("isles24", KNOW_ISLES24), ("default", USE_THE_DEFAULT)])
def test_the_release_is_passed_and_not_imported(module, users):
    name = f"isles_assets.release.{module}."
    assert users == {user for user, source in modules().items() if any(n.startswith(name) for n in imported(source))}


def test_lib_knows_no_release():
    assert not [module for module, source in modules("lib").items() if OF_A_RELEASE.search(source)]


def test_the_facts_of_a_release_are_data():
    """Types of data, helpers that fill in what many lines share, and no branch."""
    tree = ast.parse(modules("release")["release/isles24.py"])
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.If | ast.Try | ast.ClassDef | ast.With | ast.For)
    ]


@pytest.mark.parametrize("module", modules())
def test_public_docstrings_say_in_one_form_what_is_raised(module):
    """Ruff holds the form of the sections, and does not see a sentence in the place of one."""
    functions = [node for node in ast.walk(ast.parse(modules()[module])) if isinstance(node, ast.FunctionDef)]
    public = [function for function in functions if not function.name.startswith("_")]
    assert not [f.name for f in public if re.search(r"\bRaises `", ast.get_docstring(f) or "")]


@pytest.mark.parametrize("module", modules())
def test_every_module_opens_with_what_belongs_in_it(module):
    assert (ast.get_docstring(ast.parse(modules()[module])) or "").strip()


@pytest.mark.parametrize("folder", sorted({name.rpartition("/")[0] for name in modules() if "/" in name}))
def test_every_folder_says_what_to_add_where(folder):
    opening = ast.get_docstring(ast.parse(modules()[f"{folder}/__init__.py"])) or ""
    assert len(opening.split("\n\n")) > 1, "one sentence on what is in it, then where to add what"


def test_the_package_and_its_domain_code_need_no_dagster():
    domain = [module.removesuffix(".py").replace("/", ".") for module in modules(*ROOMS[:-1])]
    imports = ", ".join(f"isles_assets.{name}" for name in domain if not name.endswith("__"))
    code = f"import sys, {imports}; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
