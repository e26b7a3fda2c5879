"""The versions of Python and of the libraries, against those that were tested.

The installed package's metadata has the bounds, and the versions of Python that were tried. The pins, with which the
tests were run, are in `constraints.txt`, which only a checkout has.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import isles_assets
from isles_assets.doctor.lines import Line, Status, Topic, fine
from isles_assets.lib.findings import name_some

_PACKAGE = "isles-assets"
_TRIED = "Programming Language :: Python :: "
_INSTALL = "make setup"


def version_lines(pins: Path | None = None) -> Iterator[Line]:
    """Yield blockers for libraries outside their bounds, and notes on what was not tested.

    Args:
        pins: The file of pins; None for that of the checkout that the package is in.
    """
    yield _python(sys.version_info[:2])
    needed = [requirement for line in requires(_PACKAGE) or () if _applies(requirement := Requirement(line))]
    missing = list(_outside_bounds(needed))
    yield from missing
    pinned = _pinned(pins or Path(isles_assets.__file__).parents[1] / "constraints.txt")
    others = [
        f"{requirement.name} {installed} ({pinned[name]})"
        for requirement in needed
        if (installed := _installed(requirement)) and (name := canonicalize_name(requirement.name)) in pinned
        if Version(installed) != Version(pinned[name])
    ]
    if others:
        what = f"other versions than the tested ones, which are in brackets: {name_some(others)}"
        yield Line(Topic.VERSIONS, Status.NOTE, what, f"`{_INSTALL}` installs the tested ones")
    elif not missing:
        within = "at their tested versions" if pinned else "within their bounds"
        yield fine(Topic.VERSIONS, f"isles-assets {isles_assets.__version__}; {len(needed)} libraries {within}")


def _python(running: tuple[int, int]) -> Line:
    tried = [classifier.removeprefix(_TRIED) for classifier in metadata(_PACKAGE).get_all("Classifier", [])
             if classifier.startswith(_TRIED)]  # fmt: skip
    name = ".".join(map(str, running))
    if name in tried:
        return fine(Topic.VERSIONS, f"Python {sys.version.split()[0]}")
    what = f"Python {name} was not tried; {', '.join(tried)} were"
    return Line(Topic.VERSIONS, Status.NOTE, what, "take one of these, if anything goes wrong")


def _applies(requirement: Requirement) -> bool:
    """Return whether the package needs it without any of its extras."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _installed(requirement: Requirement) -> str:
    try:
        return version(requirement.name)
    except PackageNotFoundError:
        return ""


def _outside_bounds(needed: list[Requirement]) -> Iterator[Line]:
    for requirement in needed:
        installed = _installed(requirement)
        if not installed or installed not in requirement.specifier:
            is_there = f"{requirement.name} {installed}" if installed else f"no {requirement.name}"
            what = f"{is_there} is installed, and {requirement.specifier} is needed"
            yield Line(Topic.VERSIONS, Status.BLOCKER, what, f"run `{_INSTALL}`")


def _pinned(path: Path) -> dict[str, str]:
    """Return the pinned versions by name; none if there is no file."""
    if not path.is_file():
        return {}
    pins = [line.partition("==") for line in path.read_text().splitlines()]
    return {canonicalize_name(name): pin for name, _, pin in pins if pin}
