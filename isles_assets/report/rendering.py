"""The report as one HTML page that needs nothing else: pictures, style and script are in it, and it asks no network.

Its text is in `page.html.j2`. All that comes from outside is escaped, and the page's own policy lets no other script
or style run, and nothing be fetched.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

import isles_assets
from isles_assets.report import charts
from isles_assets.report.collecting import NOTHING, Report, Standing
from isles_assets.report.pictures import data_addresses
from isles_assets.report.statistics import shown

LARGEST = 14_500_000
"""Bytes of a page: pictures get what text leaves of it."""

_MEANINGS: Mapping[Standing, str] = {
    Standing.STOPS: "stops publication",
    Standing.MISSING: "missing or stale",
    Standing.UNUSUAL: "unlike the others",
    Standing.WAIVED: "waived",
    Standing.NOTED: "noted",
    Standing.FINE: "nothing to note",
}


def render_page(report: Report, *, workers: int = 1, largest: int = LARGEST) -> str:
    """The page, of at most `largest` bytes if its text is. The same report gives the same page."""
    room = largest - len(_page(report, {}).encode())
    pictures = {each.subject: each.picture for each in report.subjects if each.picture}
    return _page(report, data_addresses(pictures, max(0, room), workers=workers))


def _page(report: Report, pictures: Mapping[str, str]) -> str:
    environment = Environment(
        loader=PackageLoader("isles_assets.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    style, script = (files(__package__).joinpath(name).read_text() for name in ("page.css", "page.js"))
    return environment.get_template("page.html.j2").render(
        report=report,
        release=report.release,
        version=isles_assets.__version__,
        pictures=pictures,
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}",
        standings=_MEANINGS,
        nothing=NOTHING,
        charts=charts,
        shown=shown,
    )


def _allowed(code: str) -> str:
    """What names inline `code` in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
