"""Addresses of the project, from the installed package's metadata. pyproject.toml declares them in `project.urls`."""

from functools import cache
from importlib.metadata import metadata


@cache
def code_url() -> str:
    """Return the address of the repository."""
    urls = dict(line.split(", ", 1) for line in metadata("isles-assets").get_all("Project-URL", []))
    return str(urls["Repository"])


def issues_url() -> str:
    """Return the address where people report problems with the code."""
    return f"{code_url()}/issues"
