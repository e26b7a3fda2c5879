"""What makes a site of the pages, for mkdocs: `make docs`.

The start page is the README. Links to what lies in the repository and is no page lead to where the code lives. Mermaid,
which draws the diagrams in the reader's browser, is copied from the file that `MERMAID` names; without one, the theme
asks unpkg.com for it.
"""

import os
import posixpath
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
_MERMAID = "mermaid.min.js"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say where the code lives, as the project does."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    config.site_description = project["description"]
    # As `repo_url` it would let the theme ask GitHub about the repository from each reader's browser.
    config.extra["social"] = [{"icon": "fontawesome/brands/github", "link": project["urls"]["Repository"]}]
    if os.environ.get("MERMAID"):
        config.extra_javascript.append(_MERMAID)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the start page, and Mermaid if it is at hand."""
    start = _LINK.sub(_from_the_docs, (_ROOT / "README.md").read_text())
    files.append(File.generated(config, "index.md", content=start))
    if mermaid := os.environ.get("MERMAID"):
        files.append(File.generated(config, _MERMAID, abs_src_path=mermaid))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave the pages lead to the README's page, or to where the code lives."""

    def led(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), link[1]))
        if target.startswith("docs/"):
            return link[1]
        if target == "README.md":
            return posixpath.relpath("index.md", posixpath.dirname(page.file.src_uri) or ".")
        kind = "tree" if (_ROOT / target).is_dir() else "blob"
        return f"{config.extra['social'][0]['link']}/{kind}/HEAD/{target}"

    return _LINK.sub(led, markdown)


def _from_the_docs(link: re.Match[str]) -> str:
    """A link of the README as a page among the docs has it."""
    return str(link[1].removeprefix("docs/") if link[1].startswith("docs/") else f"../{link[1]}")
