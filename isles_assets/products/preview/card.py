"""The preview's parts of the dataset card: how to load its table, counts over all subjects, columns, and folds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from isles_assets.lib.findings import name_some
from isles_assets.lib.markdown import markdown_table
from isles_assets.lib.words import spread
from isles_assets.products.preview.facts import all_facts
from isles_assets.products.preview.folds import FOLD, FOLDS, centre_of, folds
from isles_assets.products.preview.pictures import PICTURES
from isles_assets.products.product import CardParts
from isles_assets.products.sidecar import Sidecar
from isles_assets.release.release import Release
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN

_MOST_NAMED = 20


def card_parts(
    release: Release,
    config: str,
    repo: str,
    picture: str,
    sidecars: Mapping[str, Sidecar],
    rows: Mapping[str, ManifestRow],
) -> CardParts:
    """Return the parts of the card.

    Args:
        config: Name of the config.
        picture: Path of the card's picture in the repo.
        sidecars: Sidecars by subject.
        rows: The manifest's rows by subject.
    """
    facts_of = {subject: sidecar.facts for subject, sidecar in sorted(sidecars.items())}
    return CardParts(
        picture=f"![Pictures of one subject]({picture})",
        example=f"""The clinical variables and the facts about the volumes as a pandas table, without any volume:

```python
table = load_dataset("{repo}", "{config}", split="train")
table = table.select_columns(
    [c for c in table.column_names if not c.endswith("_picture")]
).to_pandas()
```""",
        counts=_counts(release, facts_of),
        section=f"{_columns(release, config)}\n\n{_folds(release, sidecars, rows)}".strip(),
    )


def summary(sidecars: Mapping[str, Sidecar]) -> list[tuple[str, str]]:
    """Return what describes a group of subjects: what, and its median with the least and greatest value."""
    facts = [sidecar.facts for sidecar in sidecars.values()]
    spacings = [fact["ncct_spacing_mm"] for fact in facts if fact["ncct_spacing_mm"]]
    values = {
        "final infarct, ml": [fact["lesion_ml"] for fact in facts if fact["lesion_ml"] is not None],
        "NCCT in-plane spacing, mm": [min(spacing) for spacing in spacings],
        "NCCT slice spacing, mm": [max(spacing) for spacing in spacings],
        "NCCT slices": [fact["ncct_shape"][2] for fact in facts if fact["ncct_shape"]],
        "CTP frames": [fact["ctp_frames"] for fact in facts if fact["ctp_frames"]],
    }
    return [(name, spread(known) or "unknown") for name, known in values.items()]


def _counts(release: Release, facts_of: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the card's counts of empty masks, oblique axes, and voxels that are not finite."""
    omitted = [f"{s} ({', '.join(facts['left_out'])})" for s, facts in facts_of.items() if facts["left_out"]]
    subjects = {
        "`lesion_mask` is empty": [s for s, facts in facts_of.items() if not facts["lesion_voxels"]],
        "`lvo_mask` is empty": [s for s, facts in facts_of.items() if facts["lvo_empty"]],
        "`cow_mask` is empty": [s for s, facts in facts_of.items() if facts["cow_empty"]],
        "`ncct` is oblique about more than one axis": [s for s, facts in facts_of.items() if facts["oblique"]],
        "volumes that the pictures do without": omitted,
    }
    for volume in release.volumes:
        column = f"{volume.column}_non_finite"
        if affected := [s for s, facts in facts_of.items() if facts.get(column)]:
            subjects[f"`{volume.column}` holds NaN or infinite voxels"] = affected
    return [
        (title, f"{len(names)}: {name_some(names, _MOST_NAMED)}" if names else "none")
        for title, names in subjects.items()
    ]


def _columns(release: Release, config: str) -> str:
    facts = all_facts(release)
    pictures = markdown_table(("column", "picture"), [(f"`{p.column}`", p.description) for p in PICTURES])
    columns = markdown_table(("column", "type", "fact"), [(f"`{f.column}`", f.type, f.description) for f in facts])
    return f"""## Previews

The config `{config}` is for viewing and for tables. Its pictures are made for people, not for training: they show the
slice with the largest lesion, so that they leak where it is.

{pictures}

Facts that follow from the headers and voxels:

{columns}"""


def _folds(release: Release, sidecars: Mapping[str, Sidecar], rows: Mapping[str, ManifestRow]) -> str:
    """Return the section on the folds; empty if there are none."""
    centres = {subject: centre_of(release, rows[subject].clinical) for subject in sidecars}
    fold_of = folds(release, sidecars, centres)
    by_fold = [[subject for subject, fold in fold_of.items() if fold == number] for number in range(FOLDS)]
    if not all(by_fold):
        return ""
    ml = [median(sidecars[subject].facts["lesion_ml"] or 0 for subject in subjects) for subjects in by_fold]
    keys = [f'"{release.centre}"'] if release.centre else []
    order = ", ".join([*keys, '"lesion_ml"', f'"{SUBJECT_COLUMN}"'])
    return f"""## Folds

`{FOLD.name}` in the config `preview` divides the subjects into {FOLDS} folds for cross-validation. It is a suggestion
of this project, not of the release, and holds for a tag of this repo. Subjects are ordered by centre, volume of
the final infarct and id, and dealt out in turn:

```python
order = table.fillna({{"lesion_ml": 0}}).sort_values([{order}])
fold = pd.Series(range(len(order)), order["{SUBJECT_COLUMN}"]) % {FOLDS}
```

A fold has {_range([len(subjects) for subjects in by_fold])} subjects, and of a centre at most
{_imbalance(fold_of, centres)} more than another fold. The medians of the folds' infarcts are
{min(ml):.3g} to {max(ml):.3g} ml."""


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if min(numbers) == max(numbers) else f"{min(numbers)} or {max(numbers)}"


def _imbalance(fold_of: Mapping[str, int | None], centres: Mapping[str, str]) -> int:
    """Return the largest difference between two folds in the number of subjects of a centre."""
    counts = Counter((centres[subject], fold) for subject, fold in fold_of.items())
    of_centre = [[counts[centre, fold] for fold in range(FOLDS)] for centre in set(centres.values())]
    return max(max(numbers) - min(numbers) for numbers in of_centre)
