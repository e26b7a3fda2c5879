"""The report as one HTML page that holds its pictures, style and script, and uses no network.

Its text is in `page.html.j2`. Text from files is escaped. The page's content security policy allows no other script or
style, and no requests.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

import isles_assets
from isles_assets.report import charts
from isles_assets.report.collecting import NOTHING
from isles_assets.report.pictures import data_urls
from isles_assets.report.report import Report, Status
from isles_assets.report.statistics import format_number

MAX_PAGE_BYTES = 14_500_000
"""Pictures get what the text leaves of it."""

_STATUS_LABELS: Mapping[Status, str] = {
    Status.STOPS: "stops publication",
    Status.MISSING: "missing or stale",
    Status.UNUSUAL: "unlike the others",
    Status.WAIVED: "waived",
    Status.NOTED: "noted",
    Status.FINE: "nothing to note",
}


def render_page(report: Report, *, workers: int = 1, max_bytes: int = MAX_PAGE_BYTES) -> str:
    """Return the page. The same report gives the same page.

    Args:
        workers: Number of threads that make pictures smaller.
        max_bytes: Size that pictures are fitted to. The text alone may exceed it.
    """
    room = max_bytes - len(_page(report, {}).encode())
    pictures = {subject.subject: subject.picture for subject in report.subjects if subject.picture}
    return _page(report, data_urls(pictures, max(0, room), workers=workers))


@cache
def _environment() -> Environment:
    """Return the environment of the template, which compiles it once."""
    return Environment(
        loader=PackageLoader("isles_assets.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _page(report: Report, pictures: Mapping[str, str]) -> str:
    style, script = (files(__package__).joinpath(name).read_text() for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            release=report.release,
            version=isles_assets.__version__,
            pictures=pictures,
            style=style,
            script=script,
            policy=f"default-src 'none'; img-src data:; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}",
            status_labels=_STATUS_LABELS,
            nothing=NOTHING,
            charts=charts,
            format_number=format_number,
        )
    )


def _csp_hash(code: str) -> str:
    """Return the source expression that allows inline `code` in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
