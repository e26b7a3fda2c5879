"""What people read of the settings, written from their declarations: `make settings` after a change of one.

`.env.example` as a whole, the table of docs/settings.md and the list in the operating guide.
"""

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from isles_assets.graph.settings import Topic, Variable, variables
from isles_assets.lib.markdown import markdown_table
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release

ROOT = Path(__file__).parents[1]
_WIDTH = 118
_BEGIN, _END = "<!-- settings: written by `make settings` -->", "<!-- /settings -->"
_OF_OTHERS = Variable(
    "HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME", Topic.TARGET, "as in `huggingface_hub`", "never logged or stored"
)
_HEADER = """\
# Copy to .env: `dagster dev` and the other dagster commands read it from the current folder.
# Every line may be left out; the value shown is the default.
"""
_FOOTER = """\
# huggingface_hub reads these by itself; isles-assets never stores or logs them.
# HF_TOKEN=
# HF_ENDPOINT=
# HF_HOME=
"""


def documents(release: Release, root: Path) -> Mapping[Path, str]:
    """The documents below the repository's `root` as they should be, by path."""
    table, guide = root / "docs" / "settings.md", root / "docs" / "operating.md"
    names = ", ".join(f"`{variable.name}`" for variable in variables())
    return {
        root / ".env.example": _env_example(release),
        table: _between(table.read_text(), _table(release)),
        guide: _between(guide.read_text(), textwrap.fill(names, _WIDTH, break_on_hyphens=False)),
    }


def _env_example(release: Release) -> str:
    blocks = []
    for topic in Topic:
        blocks.append(f"# {topic[0].upper()}{topic[1:]}.\n")
        for variable in variables():
            if variable.topic is topic:
                meaning = _sentence(variable.meaning)
                comment = textwrap.fill(meaning, _WIDTH, initial_indent="# ", subsequent_indent="# ")
                value = variable.example or _default(release, variable)
                blocks.append(f"{comment}\n# {variable.name}={value if _is_value(value) else ''}\n")
    return "\n".join([_HEADER, *blocks, _FOOTER])


def _table(release: Release) -> str:
    rows = [
        (f"`{variable.name}`", f"`{default}`" if _is_value(default) else default, variable.meaning)
        for variable in variables()
        for default in [_default(release, variable)]
    ]
    return markdown_table(
        ("variable", "default", "meaning"),
        [*rows, (f"`{_OF_OTHERS.name}`", _OF_OTHERS.default, _OF_OTHERS.meaning)],
    )


def _default(release: Release, variable: Variable) -> str:
    return variable.default.format(repo=release.repo)


def _is_value(default: str) -> bool:
    """Whether it can be typed, and is no description."""
    return default != "unset" and " " not in default


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _between(text: str, content: str) -> str:
    """`text` with `content` between its two marks. Raises `ValueError` where it has none."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the marks {_BEGIN} and {_END} are missing")
    return f"{before}{begin}\n{content}\n{end}{after}"


def main() -> int:
    """Bring the documents up to date; with `--check` only say which are not, and fail."""
    wrong = [(path, text) for path, text in documents(RELEASE, ROOT).items() if path.read_text() != text]
    for path, text in wrong:
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 1 if wrong and sys.argv[1:] == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main())
