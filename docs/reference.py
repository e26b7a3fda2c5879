"""What the pages say of graph, settings, checks and commands, written from the code: `make reference` after a change.

`.env.example` is written as a whole; in a page, what stands between two marks.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import dagster as dg

from isles_assets.cli import COMMANDS
from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
from isles_assets.lib.markdown import markdown_table
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.settings.fields import Topic, Variable, variables

ROOT = Path(__file__).parents[1]
_WIDTH = 118
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
    defs = build_defs(release, Settings())
    names = ", ".join(f"`{variable.name}`" for variable in variables())
    parts = {
        "how-it-works.md": {"graph": _graph(defs)},
        "settings.md": {"settings": _settings(release)},
        "operating.md": {"settings": textwrap.fill(names, _WIDTH, break_on_hyphens=False)},
        "checks.md": {"checks": _checks(defs)},
        "commands.md": {
            "jobs": _jobs(defs),
            "run config": _run_config(defs),
            "isles24": "\n\n".join(_subcommand(name, does) for name, does in COMMANDS.items()),
            "make": _make((root / "Makefile").read_text()),
        },
    }
    pages = {}
    for page, of_page in parts.items():
        path = root / "docs" / page
        text = path.read_text()
        for name, content in of_page.items():
            text = _between(text, name, content)
        pages[path] = text
    return {root / ".env.example": _env_example(release), **pages}


def _assets(defs: dg.Definitions) -> list[str]:
    """The names of all assets, each after those that it is made from."""
    return [key.to_user_string() for key in defs.resolve_asset_graph().toposorted_asset_keys]


def _graph(defs: dg.Definitions) -> str:
    """The assets and what each is made from, as a diagram."""
    graph = defs.resolve_asset_graph()
    lines = ["```mermaid", "flowchart LR"]
    for name in _assets(defs):
        partitions = graph.get(dg.AssetKey(name)).partitions_def
        label = f"{name}<br/>{len(partitions.get_partition_keys())} partitions" if partitions else name
        lines.append(f'    {name}["{label}"]')
    for name in _assets(defs):
        parents = sorted(key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys)
        lines.extend(f"    {parent} --> {name}" for parent in parents)
    return "\n".join([*lines, "```"])


def _checks(defs: dg.Definitions) -> str:
    """Each check, by asset: what must be true, and whether it stops the run."""
    rows = []
    for asset in _assets(defs):
        specs = [
            spec
            for checks in defs.asset_checks or ()
            for spec in getattr(checks, "check_specs", ())
            if spec.asset_key.to_user_string() == asset
        ]
        for spec in specs:
            if_red = "stops the run" if spec.blocking else None
            rows.append((f"`{asset}`", f"`{spec.name}`", if_red, _first_line(spec.description)))
    return markdown_table(("asset", "check", "if red", "what must be true"), rows)


def _jobs(defs: dg.Definitions) -> str:
    rows = [(f"`dagster job execute -j {job.name}`", _first_line(job.description)) for job in defs.jobs or ()]
    return markdown_table(("command", "does"), rows)


def _run_config(defs: dg.Definitions) -> str:
    """What can be said of one run, by the op that takes it."""
    rows = []
    nodes = {
        node.name: node for job in ("build", "rollback", "doctor", "pilot") for node in defs.resolve_job_def(job).nodes
    }
    for name, node in sorted(nodes.items()):
        schema = node.definition.config_schema
        fields = getattr(schema.config_type, "fields", {}) if schema else {}
        for key, field in fields.items():
            default = repr(field.default_value) if field.default_provided else "needed"
            rows.append((f"`{name}`", f"`{key}`", f"`{default}`", " ".join((field.description or "").split())))
    return markdown_table(("op", "field", "default", "does"), rows)


class _ParserFoundError(Exception):
    def __init__(self, parser: argparse.ArgumentParser):
        self.parser = parser


def _parser(name: str) -> argparse.ArgumentParser:
    """The parser of a subcommand of `isles24`, which makes it when it is run."""

    def found(self: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        raise _ParserFoundError(self)

    with patch.object(argparse.ArgumentParser, "parse_args", found):
        try:
            import_module(f"isles_assets.cli.{name.replace('-', '_')}").main([])
        except _ParserFoundError as error:
            return error.parser
    raise ValueError(f"isles24 {name} reads no arguments")


def _subcommand(name: str, does: str) -> str:
    """What the subcommand is for, and its arguments; if it has forms, those of each."""
    parser = _parser(name)
    forms = next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {name: parser})
    sections = [_section(form, form.description or f"{does[0].upper()}{does[1:]}.") for form in forms.values()]
    return "\n\n".join(sections)


def _section(parser: argparse.ArgumentParser, about: str) -> str:
    """A heading, what the command is for, and its arguments; argparse's own help differs from Python to Python."""
    rows = []
    for action in parser._actions:
        if "--help" not in action.option_strings:
            words = " ".join([*action.option_strings, *_values(action)])
            rows.append((f"`{words}`", (action.help or "") % {"default": action.default}))
    filled = textwrap.fill(" ".join(about.split()), _WIDTH)
    return f"### {parser.prog}\n\n{filled}\n\n{markdown_table(('argument', 'means'), rows)}"


def _values(action: argparse.Action) -> Iterator[str]:
    """What stands for the values of an argument."""
    if action.nargs != 0:
        value = str(action.metavar or action.dest).upper()
        yield f"[{value}]" if action.nargs == "?" else f"{value} ..." if action.nargs == "+" else value


def _make(makefile: str) -> str:
    targets = re.findall(r"^([a-z-]+):.*?  ## (.+)$", makefile, re.MULTILINE)
    return markdown_table(("command", "does"), [(f"`make {name}`", does) for name, does in targets])


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


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


def _settings(release: Release) -> str:
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


def _between(text: str, name: str, content: str) -> str:
    """`text` with `content` between the two marks of that name. Raises `ValueError` where it has none."""
    begin, end = f"<!-- {name}: written by `make reference` -->", f"<!-- /{name} -->"
    before, begins, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(f"the marks {begin} and {end} are missing")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


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
