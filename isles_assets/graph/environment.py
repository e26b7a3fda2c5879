"""Environment variables for Dagster's commands. The activate scripts of the virtual environment set them.

`make setup` runs `python -m isles_assets.graph.environment .venv` in the checkout. After `. .venv/bin/activate`,
`dagster asset materialize --select hub_dataset` then finds the code location and the checkout's history. The scripts
keep variables that are set already; `deactivate` unsets those that they set. `make` runs commands with the same
variables: `python -m isles_assets.graph.environment .venv COMMAND ...`.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_COMMANDS = ("ASSET_MATERIALIZE", "ASSET_LIST", "JOB_EXECUTE")
"""Commands that read neither workspace.yaml nor pyproject.toml. Each gets its own variable, because the variable for
all commands, `DAGSTER_MODULE_NAME`, would affect the code servers of `dagster dev`, too."""

_SUPERSEDED = ("asset_materialize_command", "job_execute_command", "definitions_validate_command", "dev_command")
"""Functions of commands that print a warning about their successor at each call."""


def variables(checkout: Path) -> Mapping[str, str]:
    """Return the environment variables with which Dagster's commands use instance and code location of `checkout`."""
    return {
        "DAGSTER_HOME": str(checkout),
        **{f"DAGSTER_CLI_{command}_MODULE_NAME": "isles_assets" for command in _COMMANDS},
        "PYTHONWARNINGS": ",".join(f"ignore:Function `{name}` is superseded" for name in _SUPERSEDED),
    }


def with_variables(checkout: Path) -> dict[str, str]:
    """Return this process's environment, with `variables` added where they are unset or empty."""
    return {**os.environ, **{name: os.environ.get(name) or value for name, value in variables(checkout).items()}}


def update_activate_scripts(environment: Path, checkout: Path) -> list[Path]:
    """Make the activate scripts of a virtual environment set the variables of `checkout`. Return the scripts.

    The lines of an earlier call are replaced.

    Raises:
        ValueError: A script differs from those that Python's `venv` writes.
    """
    scripts = [script for name in _DIALECTS if (script := environment / "bin" / name).exists()]
    for script in scripts:
        add_lines = _DIALECTS[script.name]
        text = _without_our_lines(script.read_text())
        script.write_text(add_lines(text, variables(checkout)))
    return scripts


_BEGIN, _END = "# >>> isles-assets, by `make setup`", "# <<< isles-assets"


def _without_our_lines(text: str) -> str:
    text = re.sub(rf"{re.escape(_BEGIN)}\n.*?{re.escape(_END)}\n", "", text, flags=re.DOTALL)
    return re.sub(r"test \$\?_ISLES_\w+ != 0 && unsetenv \w+ && unset _ISLES_\w+; ", "", text)


def _block(lines: Iterable[str]) -> str:
    return "\n".join([_BEGIN, *lines, _END, ""])


def _inserted(text: str, anchor: str, addition: str) -> str:
    """Return `text` with `addition` after the line that begins with `anchor`."""
    line = re.search(rf"^{anchor}.*\n", text, re.MULTILINE)
    if line is None:
        raise ValueError(f"no line of the activate script begins with {anchor!r}: make the virtual environment anew")
    return text[: line.end()] + addition + text[line.end() :]


def _posix(text: str, values: Mapping[str, str]) -> str:
    """Return a script for bash, zsh and dash. `_ISLES_NAME` keeps the value, so `deactivate` unsets no other value."""
    unset = (
        f'if [ -n "${{_ISLES_{name}:-}}" ] && [ "${{_ISLES_{name}}}" = "${{{name}:-}}" ] ; then unset {name} ; fi\n'
        f"unset _ISLES_{name}"
        for name in values
    )
    assign = (
        f'if [ -z "${{{name}:-}}" ] ; then _ISLES_{name}={shlex.quote(value)} ; export {name}="$_ISLES_{name}" ; fi'
        for name, value in values.items()
    )
    return _inserted(text, r"deactivate *\(\) *\{", _block(unset)) + _block(assign)


def _fish(text: str, values: Mapping[str, str]) -> str:
    unset = (
        f'if set -q _ISLES_{name}; and test "$_ISLES_{name}" = "${name}"; set -e {name}; end\nset -e _ISLES_{name}'
        for name in values
    )

    def quoted(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    assign = (
        f'if test -z "${name}"; set -g _ISLES_{name} {quoted(value)}; set -gx {name} $_ISLES_{name}; end'
        for name, value in values.items()
    )
    return _inserted(text, "function deactivate", _block(unset)) + _block(assign)


def _csh(text: str, values: Mapping[str, str]) -> str:
    """Return a script for csh. Its `deactivate` is one line."""
    unset = "".join(f"test $?_ISLES_{name} != 0 && unsetenv {name} && unset _ISLES_{name}; " for name in values)

    def quoted(value: str) -> str:
        return shlex.quote(value).replace("!", "\\!")

    alias = "alias deactivate '"
    if alias not in text:
        raise ValueError(f"the activate script has no {alias!r}: make the virtual environment anew")
    assign = (
        f"if (! $?{name}) then\nset _ISLES_{name}\nsetenv {name} {quoted(value)}\nendif"
        for name, value in values.items()
    )
    return text.replace(alias, alias + unset, 1) + _block(assign)


_DIALECTS: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "activate": _posix,
    "activate.fish": _fish,
    "activate.csh": _csh,
}


def main(environment: Path, command: Sequence[str]) -> None:
    """Update the activate scripts of `environment`, or replace this process by the `command` of that environment."""
    if command:
        path = environment.resolve() / "bin" / command[0]
        os.execve(path, list(command), with_variables(Path.cwd()))  # noqa: S606 - no shell is wanted
    update_activate_scripts(environment, Path.cwd())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
