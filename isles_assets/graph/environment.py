"""What Dagster's commands have to be told, as the virtual environment's activate scripts tell them.

`make setup` runs `python -m isles_assets.graph.environment .venv` in the checkout. After `. .venv/bin/activate` the
bare `dagster asset materialize --select hub_dataset` then finds the code location and the checkout's history. A value
that is set already is left as it is, and `deactivate` takes away what was set. `make` runs commands with the same
variables, by `python -m isles_assets.graph.environment .venv COMMAND ...`.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_COMMANDS = ("ASSET_MATERIALIZE", "ASSET_LIST", "JOB_EXECUTE")
"""Those that read neither workspace.yaml nor pyproject.toml. Each has a variable of its own: that for all commands,
`DAGSTER_MODULE_NAME`, is read by the code servers of `dagster dev`, too."""

_SUPERSEDED = ("asset_materialize_command", "job_execute_command", "definitions_validate_command", "dev_command")
"""Commands that announce their successor at each call."""


def variables(checkout: Path) -> Mapping[str, str]:
    """Environment variables, by name, for Dagster's commands on the instance and the code location of `checkout`."""
    return {
        "DAGSTER_HOME": str(checkout),
        **{f"DAGSTER_CLI_{command}_MODULE_NAME": "isles_assets" for command in _COMMANDS},
        "PYTHONWARNINGS": ",".join(f"ignore:Function `{name}` is superseded" for name in _SUPERSEDED),
    }


def with_variables(checkout: Path) -> dict[str, str]:
    """The environment of this process with those of `variables` that are unset or empty in it."""
    return {**os.environ, **{name: os.environ.get(name) or value for name, value in variables(checkout).items()}}


def tell(environment: Path, checkout: Path) -> list[Path]:
    """Let the activate scripts of the virtual `environment` set the variables of `checkout`; the scripts.

    What an earlier call wrote is replaced. Raises `ValueError` for a script that is not as Python's `venv` writes it.
    """
    scripts = [script for name in _DIALECTS if (script := environment / "bin" / name).exists()]
    for script in scripts:
        add = _DIALECTS[script.name]
        text = _without_ours(script.read_text())
        script.write_text(add(text, variables(checkout)))
    return scripts


_BEGIN, _END = "# >>> isles-assets, by `make setup`", "# <<< isles-assets"


def _without_ours(text: str) -> str:
    text = re.sub(rf"{re.escape(_BEGIN)}\n.*?{re.escape(_END)}\n", "", text, flags=re.DOTALL)
    return re.sub(r"test \$\?_ISLES_\w+ != 0 && unsetenv \w+ && unset _ISLES_\w+; ", "", text)


def _block(lines: Iterable[str]) -> str:
    return "\n".join([_BEGIN, *lines, _END, ""])


def _inserted(text: str, anchor: str, addition: str) -> str:
    """`text` with `addition` after the line that begins with `anchor`."""
    found = re.search(rf"^{anchor}.*\n", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no line of the activate script begins with {anchor!r}: make the virtual environment anew")
    return text[: found.end()] + addition + text[found.end() :]


def _posix(text: str, values: Mapping[str, str]) -> str:
    """For bash, zsh and dash. `_ISLES_NAME` is what was set, so that only that is taken back."""
    unset = (
        f'if [ -n "${{_ISLES_{name}:-}}" ] && [ "${{_ISLES_{name}}}" = "${{{name}:-}}" ] ; then unset {name} ; fi\n'
        f"unset _ISLES_{name}"
        for name in values
    )
    put = (
        f'if [ -z "${{{name}:-}}" ] ; then _ISLES_{name}={shlex.quote(value)} ; export {name}="$_ISLES_{name}" ; fi'
        for name, value in values.items()
    )
    return _inserted(text, r"deactivate *\(\) *\{", _block(unset)) + _block(put)


def _fish(text: str, values: Mapping[str, str]) -> str:
    unset = (
        f'if set -q _ISLES_{name}; and test "$_ISLES_{name}" = "${name}"; set -e {name}; end\nset -e _ISLES_{name}'
        for name in values
    )

    def quoted(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    put = (
        f'if test -z "${name}"; set -g _ISLES_{name} {quoted(value)}; set -gx {name} $_ISLES_{name}; end'
        for name, value in values.items()
    )
    return _inserted(text, "function deactivate", _block(unset)) + _block(put)


def _csh(text: str, values: Mapping[str, str]) -> str:
    """Its `deactivate` is one line."""
    unset = "".join(f"test $?_ISLES_{name} != 0 && unsetenv {name} && unset _ISLES_{name}; " for name in values)

    def quoted(value: str) -> str:
        return shlex.quote(value).replace("!", "\\!")

    alias = "alias deactivate '"
    if alias not in text:
        raise ValueError(f"the activate script has no {alias!r}: make the virtual environment anew")
    put = (
        f"if (! $?{name}) then\nset _ISLES_{name}\nsetenv {name} {quoted(value)}\nendif"
        for name, value in values.items()
    )
    return text.replace(alias, alias + unset, 1) + _block(put)


_DIALECTS: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "activate": _posix,
    "activate.fish": _fish,
    "activate.csh": _csh,
}


def main(environment: Path, command: Sequence[str]) -> None:
    """Let the activate scripts of `environment` know; or, if there is a command, become that one of the environment."""
    if command:
        path = environment.resolve() / "bin" / command[0]
        os.execve(path, list(command), with_variables(Path.cwd()))  # noqa: S606 - no shell is wanted
    tell(environment, Path.cwd())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
