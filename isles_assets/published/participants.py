"""The participants of a BIDS dataset: clinical variables as TSV, and what each column is."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from isles_assets.published.folder import json_text
from isles_assets.reading.workbooks import Value
from isles_assets.release.clinical import Variable
from isles_assets.release.release import Release

_MISSING = "n/a"
_MEANINGS: Mapping[tuple[str | int, ...], Mapping[str, str]] = {
    (0, 1): {"0": "no", "1": "yes"},
    ("M", "F"): {"M": "male", "F": "female"},
}
_MOST_LEVELS = 7
"""Scores with more levels are described by their range."""


def write_participants(
    release: Release, subjects: Sequence[str], clinical: Mapping[str, Mapping[str, Value]] | None, new: Path
) -> None:
    """Write `participants.tsv` and `participants.json` into `new`.

    Args:
        clinical: Values by subject and column; None if they are not at hand.
    """
    variables = release.variables if clinical else ()
    rows: list[list[Value]] = [
        [subject, *((clinical or {})[subject][v.column] for v in variables)] for subject in subjects
    ]
    header = ["participant_id", *(variable.column for variable in variables)]
    lines = ["\t".join(header), *("\t".join(map(_cell, row)) for row in rows)]
    (new / "participants.tsv").write_text("".join(f"{line}\n" for line in lines))
    columns = {v.column: _describe(v, [row[n] for row in rows]) for n, v in enumerate(variables, start=1)}
    identifier = {"participant_id": {"Description": "The subject's id in the release"}}
    (new / "participants.json").write_text(json_text(identifier | columns))


def _cell(value: Value) -> str:
    """Return a cell of a TSV file, which knows no quotes."""
    if value is None or value == "" or (isinstance(value, float) and not isfinite(value)):
        return _MISSING
    return " ".join(str(value).split()) or _MISSING


def _describe(variable: Variable, values: Sequence[Value]) -> dict[str, Any]:
    """Return what a column is. Levels and limits that a value of the release breaks are left out."""
    content: dict[str, Any] = {"Description": variable.description, "Known": str(variable.known)}
    if variable.column_unit:
        content["Units"] = variable.column_unit
    if not all(value is None or variable.allows(value) for value in values):
        return content
    if 0 < len(variable.levels) <= _MOST_LEVELS:
        content["Levels"] = _MEANINGS.get(variable.levels) or {str(level): str(level) for level in variable.levels}
    else:
        low, high = (min(variable.levels), max(variable.levels)) if variable.levels else (variable.low, variable.high)
        content |= {"Minimum": low, "Maximum": high}
    return content
