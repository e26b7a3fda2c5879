"""What the installed package says of itself: where its code lives. pyproject.toml declares it, under `project.urls`."""

from functools import cache
from importlib.metadata import metadata


@cache
def code_url() -> str:
    """Where the code lives: the address that the installed package calls its Repository."""
    urls = dict(line.split(", ", 1) for line in metadata("isles-assets").get_all("Project-URL", []))
    return str(urls["Repository"])


def issues_url() -> str:
    """Where people report what is wrong with the code."""
    return f"{code_url()}/issues"
