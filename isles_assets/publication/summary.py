"""The card's summary of the subjects, by centre: counts, medians and ranges."""

from collections import Counter
from collections.abc import Iterator, Sequence

from isles_assets.lib.words import spread
from isles_assets.publication.publication import Publication
from isles_assets.release.clinical import Kind, Variable

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Header and rows."""


def summary_by_centre(publication: Publication) -> Table:
    """Return a table with a column for each centre, and one for all subjects."""
    groups = dict(_groups(publication))
    rows = [
        ("subjects", *(str(len(subjects)) for subjects in groups.values())),
        *_clinical(publication, groups),
        *_of_products(publication, groups),
    ]
    return ("summary", *groups), rows


def _groups(publication: Publication) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the name and subjects of each centre, then of all."""
    release = publication.dataset.release
    if release.centre:
        centres: dict[str, list[str]] = {}
        for subject in publication.subjects:
            value = publication.manifest[subject].clinical[release.centre]
            centres.setdefault("" if value is None else str(value), []).append(subject)
        for name in sorted(centres, key=lambda name: (not name, name)):
            yield f"`{release.centre}` {name}" if name else f"no `{release.centre}`", centres[name]
    yield "all", publication.subjects


def _clinical(publication: Publication, groups: dict[str, Sequence[str]]) -> Iterator[Sequence[str]]:
    release = publication.dataset.release
    for variable in release.variables:
        if variable.column in release.first_look and variable.column != release.centre:
            values = [
                [publication.manifest[subject].clinical[variable.column] for subject in subjects]
                for subjects in groups.values()
            ]
            yield f"`{variable.column}`", *(_distribution(variable, of_group) for of_group in values)


def _distribution(variable: Variable, values: Sequence[float | str | None]) -> str:
    known = [value for value in values if value is not None]
    missing = [f"{len(values) - len(known)} missing"] if len(known) < len(values) else []
    if variable.kind is Kind.LEVEL:
        counts = Counter(map(str, known))
        return ", ".join([*(f"{counts[level]} {level}" for level in sorted(counts)), *missing])
    return ", ".join(filter(None, [spread([float(value) for value in known]), *missing]))


def _of_products(publication: Publication, groups: dict[str, Sequence[str]]) -> Iterator[Sequence[str]]:
    for product in publication.dataset.products:
        made = publication.made.get(product.name, {})
        of_groups = [
            dict(product.summary({subject: made[subject] for subject in subjects if subject in made}))
            for subjects in groups.values()
        ]
        for name in of_groups[-1]:
            yield name, *(of_group.get(name, "") for of_group in of_groups)
