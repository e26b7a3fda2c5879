"""From tables, sidecars and findings to what the report says, as values. No volume is read."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from isles_assets.lib.findings import Finding, Materialize, Refusal, Render, visible
from isles_assets.products.building import states_of
from isles_assets.products.dataset import Dataset
from isles_assets.products.sidecar import Sidecar
from isles_assets.products.sources import Voxels
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.judging import judge_all
from isles_assets.publication.waivers import Judgement, how_to_waive
from isles_assets.release.clinical import Kind, Known, Variable
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid, Volume
from isles_assets.release.waivers import Waiver
from isles_assets.report.statistics import Bin, Outlier, Quartiles, histogram, outliers, quartiles_of, rare, shown
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow

_DIGITS = 5
"""Of a measure: what a header or a table rounds does not make subjects differ."""

_MOST_TOLD = 30
"""Findings of one subject, or of none, that are told one by one."""

NOTHING = "\N{EN DASH}"
"""What stands in the place of a value that is not known."""


class Standing(StrEnum):
    """How a subject stands, the first that applies."""

    STOPS = "stops"
    """Something of it stops publication."""

    MISSING = "missing"
    """A product of it is missing or stale."""

    UNUSUAL = "unusual"
    WAIVED = "waived"
    NOTED = "noted"
    FINE = "fine"


@dataclass(frozen=True)
class Told:
    """A finding for people: its level or `waived`, where it is, what, what to do, and for a waiver its reason."""

    level: str
    where: str
    problem: str
    mend: str
    reason: str = ""


@dataclass(frozen=True)
class NotMade:
    """A product that a subject has not, for people: why, what stopped it if that is known, and what to do."""

    reason: str
    mend: str
    stopped_by: str = ""


Stopped = Mapping[tuple[str, str], str]
"""What stopped the last attempt to make something, by asset and subject."""
NOTHING_STOPPED: Stopped = MappingProxyType({})


@dataclass(frozen=True)
class Measure:
    """A number that each subject may have, to sort by and to draw: `key` for code, `label` and `unit` for people.

    `of_grid`: it is part of what is said of a subject's grids.
    """

    key: str
    label: str
    unit: str = ""
    of_grid: bool = False

    @property
    def title(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True)
class Distribution:
    """All values of a measure: `bins` to draw, quartiles, how many subjects have none, and how many are unusual."""

    measure: Measure
    bins: Sequence[Bin]
    quartiles: Quartiles | None
    known: int
    missing: int
    unusual: int


@dataclass(frozen=True)
class MissingValues:
    """Of one clinical variable: how many subjects of each group have no value, and of how many."""

    column: str
    description: str
    outcome: bool
    counts: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class WaiverLine:
    """A waiver in force, whose it is, and how many findings it covers."""

    waiver: Waiver
    of_release: bool
    covers: int


@dataclass(frozen=True)
class SubjectReport:
    """What is shown of one subject. `values` are those of the measures by key, `facts` name, value and meaning.

    `grids` are those that the measures are of, and `first_look` what else is shown of the clinical values.
    `unusual` says by measure what is unlike the other subjects. `picture` is a JPEG file, or None.
    """

    subject: str
    standing: Standing
    group: str
    synthetic: bool
    values: Mapping[str, float | None]
    first_look: Sequence[tuple[str, str]]
    grids: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str, str]]
    clinical: Sequence[tuple[str, str, str]]
    missing_values: int
    not_made: Sequence[NotMade]
    unusual: Sequence[tuple[str, Outlier]]
    told: Sequence[Told]
    more_told: int
    picture: bytes | None

    @property
    def rank(self) -> float:
        """The larger, the sooner a person should look: what stops first, then what is missing, unusual, waived."""
        standings = list(Standing)
        score = max((outlier.score for _, outlier in self.unusual), default=0.0)
        return (len(standings) - standings.index(self.standing)) * 1000 + min(score, 900.0)


@dataclass(frozen=True)
class Report:
    """All that the page says, but how. `subjects` stand in the order in which to look at them.

    `groups` are what missing values are told by: all subjects, then those of each centre.
    """

    release: Release
    synthetic: bool
    repo: str
    tree: str
    compared: str
    subjects: Sequence[SubjectReport]
    made: Sequence[tuple[str, int]]
    stopping: int
    waived: int
    notes: int
    not_made: int
    told: Sequence[Told]
    more_told: int
    how_to_waive: str
    waivers: Sequence[WaiverLine]
    measures: Sequence[Measure]
    distributions: Sequence[Distribution]
    groups: Sequence[tuple[str, int]]
    missing_values: Sequence[MissingValues]

    @property
    def may_be_published(self) -> bool:
        """Whether nothing stops it, as far as tables and products say; the tree is looked at when it is published."""
        return not (self.stopping or self.not_made)

    def standing(self, *standings: Standing) -> list[SubjectReport]:
        """The subjects that stand so."""
        return [subject for subject in self.subjects if subject.standing in standings]


def collect(
    dataset: Dataset,
    evidence: Evidence,
    repo: str,
    *,
    stopped: Stopped = NOTHING_STOPPED,
    render: Render = str,
    workers: int = 1,
) -> Report:
    """The report on what is there of `dataset`, whatever is missing or red; `render` says what to do in words.

    `stopped` is what is known of why a product was not made.

    Raises `Refusal` if the manifest or the clinical table is missing, or a file of waivers cannot be understood.
    """
    release, folder = dataset.release, evidence.folder
    known = _known_of(dataset, folder, evidence.manifest, workers, stopped, render)
    judgement = judge_all(evidence)
    told = _told_by_subject(release, judgement, render)
    measures = dict(_measures(release))
    values = {m.key: {s: number for s, each in known.items() if (number := read(each)) is not None}
              for m, read in measures.items()}  # fmt: skip
    unusual = _unusual(release, known, measures, values)
    subjects = [
        _subject(dataset, folder, each, told.get(subject, []), unusual[subject], values)
        for subject, each in known.items()
    ]
    found, most = told.get("", []), _MOST_TOLD
    return Report(
        release=release,
        synthetic=any(subject.synthetic for subject in subjects),
        repo=repo,
        tree=str(evidence.root),
        compared=evidence.listing.compared("files by name and size"),
        subjects=sorted(subjects, key=lambda each: (-each.rank, each.subject)),
        made=[(p.plural, sum(p.name in each.sidecars for each in known.values())) for p in dataset.products],
        stopping=len(judgement.stopping),
        waived=len(judgement.waived),
        notes=len(judgement.notes),
        not_made=sum(len(each.not_made) for each in known.values()),
        told=found[:most],
        more_told=max(0, len(found) - most),
        how_to_waive=how_to_waive(release, judgement.stopping, folder.waivers),
        waivers=_waiver_lines(release, evidence.waivers, judgement),
        measures=list(measures),
        distributions=[
            _distribution(m, values[m.key], len(known), sum(m.title in dict(of) for of in unusual.values()))
            for m in measures
        ],
        groups=_groups(release, known.values()),
        missing_values=_missing_values(release, known.values()),
    )


@dataclass(frozen=True)
class _Known:
    """What is known of one subject: its row of the manifest, its products by name, and why others are not there."""

    subject: str
    row: ManifestRow | None
    sidecars: Mapping[str, Sidecar]
    not_made: Sequence[NotMade]

    def voxels(self, column: str) -> Voxels | None:
        """What decoding a volume showed, whichever product it was decoded for."""
        sources = (sidecar.sources.get(column) for sidecar in self.sidecars.values())
        return next((source.voxels for source in sources if source and source.voxels), None)

    def clinical(self, column: str) -> Any:
        return self.row.clinical.get(column) if self.row else None

    def group(self, release: Release) -> str:
        """The centre; empty where there is none."""
        value = self.clinical(release.centre) if release.centre else None
        return "" if value is None else str(value)


def _known_of(
    dataset: Dataset,
    folder: DataFolder,
    manifest: Mapping[str, ManifestRow],
    workers: int,
    stopped: Stopped,
    render: Render,
) -> dict[str, _Known]:
    rows = [manifest[subject] for subject in dataset.release.subjects if subject in manifest]
    states = {product.name: states_of(product, folder, rows, workers=workers) for product in dataset.products}
    known = {}
    for subject in dataset.release.subjects:
        of = {name: each[subject] for name, each in states.items() if subject in each}
        sidecars = {name: state.sidecar for name, state in of.items() if state.sidecar}
        not_made = [
            NotMade(
                visible(of[product.name].reason),
                render(Materialize((product.asset,), subject)),
                visible(stopped.get((product.asset, subject), "")),
            )
            for product in dataset.products
            if product.name in of and product.name not in sidecars
        ]
        if not of:
            not_made = [NotMade("is not in the manifest", "see the checks of subject_manifest")]
        known[subject] = _Known(subject, manifest.get(subject), sidecars, not_made)
    return known


Read = Callable[[_Known], float | None]


def _measures(release: Release) -> Iterator[tuple[Measure, Read]]:
    """What is compared over all subjects: volumes of masks, grids, series, and the first clinical variables."""
    for volume in release.volumes:
        if volume.content is Content.MASK:
            yield Measure(f"{volume.column}_ml", volume.column, "mL"), _ml(volume)
    for volume in _with_grids(release):
        for name, word, choose in (("least", "least", min), ("most", "greatest", max)):
            measure = Measure(f"{volume.column}_{name}_mm", f"{volume.column}: {word} spacing", "mm", of_grid=True)
            yield measure, _spacing(volume, choose)
        if volume is not release.reference:
            yield Measure(f"{volume.column}_frames", f"{volume.column}: frames", of_grid=True), _frames(volume)
    for variable in release.variables:
        is_number = variable.kind is not Kind.LEVEL and variable.column != release.centre
        if is_number and variable.column in release.first_look:
            yield Measure(variable.column, variable.column, _unit(variable)), _value(variable)


def _with_grids(release: Release) -> list[Volume]:
    """The volumes whose grids are compared: the reference, and the series as they were acquired."""
    series = [v for v in release.volumes if v.content is Content.CT_SERIES and v.grid is Grid.NATIVE]
    return [release.reference, *series]


def _ml(volume: Volume) -> Read:
    def read(known: _Known) -> float | None:
        voxels = known.voxels(volume.column)
        return None if voxels is None or voxels.marked_ml is None else _rounded(voxels.marked_ml)

    return read


def _spacing(volume: Volume, choose: Callable[[Iterable[float]], float]) -> Read:
    def read(known: _Known) -> float | None:
        entry = known.row.volumes[volume.column] if known.row else None
        return _rounded(choose(entry.spacing)) if entry and entry.spacing and not entry.transform else None

    return read


def _frames(volume: Volume) -> Read:
    def read(known: _Known) -> float | None:
        entry = known.row.volumes[volume.column] if known.row else None
        return entry.frames if entry else None

    return read


def _value(variable: Variable) -> Read:
    def read(known: _Known) -> float | None:
        value = known.clinical(variable.column)
        return None if value is None else _rounded(value)

    return read


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _unit(variable: Variable) -> str:
    """The unit; none of a duration, whose column is named for it."""
    return "" if variable.kind is Kind.MINUTES else variable.unit or ""


def _unusual(
    release: Release,
    known: Mapping[str, _Known],
    measures: Iterable[Measure],
    values: Mapping[str, Mapping[str, float]],
) -> dict[str, list[tuple[str, Outlier]]]:
    """What is unlike the other subjects, by subject: the measure or mask, and how."""
    found: dict[str, list[tuple[str, Outlier]]] = {subject: [] for subject in known}
    for measure in measures:
        for subject, outlier in outliers(values[measure.key]).items():
            found[subject].append((measure.title, outlier))
    for volume in release.volumes:
        if volume.content in (Content.MASK, Content.LABELS):
            seen = {subject: voxels for subject, each in known.items() if (voxels := each.voxels(volume.column))}
            empty = [subject for subject, voxels in seen.items() if voxels.empty]
            for subject, outlier in rare(empty, len(seen)).items():
                found[subject].append((f"{volume.column} is empty", outlier))
    return found


def _subject(
    dataset: Dataset,
    folder: DataFolder,
    known: _Known,
    told: Sequence[Told],
    unusual: Sequence[tuple[str, Outlier]],
    values: Mapping[str, Mapping[str, float]],
) -> SubjectReport:
    release = dataset.release
    levels = {each.level for each in told}
    standing = next(
        standing
        for standing, applies in (
            (Standing.STOPS, levels & {"fatal", "waivable"}),
            (Standing.MISSING, known.not_made),
            (Standing.UNUSUAL, unusual),
            (Standing.WAIVED, "waived" in levels),
            (Standing.NOTED, levels),
            (Standing.FINE, True),
        )
        if applies
    )
    return SubjectReport(
        subject=known.subject,
        standing=standing,
        group=known.group(release),
        synthetic=any(sidecar.synthetic for sidecar in known.sidecars.values())
        or (known.row is not None and known.row.synthetic),
        values={key: of.get(known.subject) for key, of in values.items()},
        first_look=[
            (v.column, _words(known.clinical(v.column)))
            for v in release.variables
            if v.column in release.first_look and v.column not in values
        ],
        grids=[(volume.column, _grid(volume, known)) for volume in _with_grids(release)],
        facts=[*_volume_facts(release, known), *_product_facts(dataset, known)],
        clinical=[(v.column, _with_unit(v, known.clinical(v.column)), _meaning(v)) for v in release.variables],
        missing_values=sum(known.clinical(variable.column) is None for variable in release.variables),
        not_made=known.not_made,
        unusual=sorted(unusual, key=lambda each: -each[1].score),
        told=told[:_MOST_TOLD],
        more_told=max(0, len(told) - _MOST_TOLD),
        picture=_picture(dataset, folder, known),
    )


def _volume_facts(release: Release, known: _Known) -> Iterator[tuple[str, str, str]]:
    """The grids of the volumes that have one of their own, from the manifest."""
    for volume in release.volumes:
        if volume is release.reference or volume.grid is Grid.NATIVE:
            entry = known.row.volumes[volume.column] if known.row else None
            of_type = f", {entry.dtype}" if entry and entry.dtype else ""
            yield volume.column, f"{_grid(volume, known)}{of_type}", volume.description


def _grid(volume: Volume, known: _Known) -> str:
    """Shape and spacing of a volume, for people."""
    entry = known.row.volumes[volume.column] if known.row else None
    if entry is None or not entry.shape:
        return "is missing" if entry is None else "cannot be read"
    spacing = f"{_by(entry.spacing)} mm" if entry.spacing and not entry.transform else "spacing unknown"
    frames = f", {entry.frames} frames" if entry.frames and volume.dimensions > len(entry.shape[:3]) else ""
    return f"{_by(entry.shape[:3])}{frames}, {spacing}"


def _product_facts(dataset: Dataset, known: _Known) -> Iterator[tuple[str, str, str]]:
    for product in dataset.products:
        if sidecar := known.sidecars.get(product.name):
            meanings = product.fact_descriptions
            yield from ((name, _words(value), meanings.get(name, "")) for name, value in sidecar.facts.items())


def _picture(dataset: Dataset, folder: DataFolder, known: _Known) -> bytes | None:
    """The first page of pictures that a product has of the subject."""
    for product in dataset.products:
        if sidecar := known.sidecars.get(product.name):
            try:
                if page := product.montage(folder, sidecar):
                    return page
            except Refusal:  # it was replaced or removed since its state was asked: as if it had not been there
                continue
    return None


def _told_by_subject(release: Release, judgement: Judgement, render: Render) -> dict[str, list[Told]]:
    """Every finding for people, the worst first, by subject; under no name those of no subject of the release."""
    told: dict[str, list[Told]] = {}
    for finding, level, reason in judgement.levelled:
        subject = finding.subject or release.subject_of(finding.path)
        subject = subject if subject in release.subjects else ""
        told.setdefault(subject, []).append(_told(finding, level, reason, render))
    return told


def _told(finding: Finding, level: str, reason: str, render: Render) -> Told:
    where = finding.path or finding.subject
    return Told(level, visible(where), visible(finding.problem), visible(render(finding.mend)), visible(reason))


def _waiver_lines(release: Release, waivers: Iterable[Waiver], judgement: Judgement) -> list[WaiverLine]:
    covers = Counter(waiver for _, waiver in judgement.waived)
    return [WaiverLine(waiver, waiver in release.waivers, covers[waiver]) for waiver in waivers]


def _distribution(measure: Measure, values: Mapping[str, float], subjects: int, unusual: int) -> Distribution:
    numbers = list(values.values())
    return Distribution(
        measure, histogram(numbers), quartiles_of(numbers), len(numbers), subjects - len(numbers), unusual
    )


def _groups(release: Release, known: Iterable[_Known]) -> list[tuple[str, int]]:
    """Each group of subjects and how many it has: all, and those of each centre if the release says it."""
    counts = Counter(each.group(release) for each in known)
    named = [(f"{release.centre} {name}" if name else f"no {release.centre}", counts[name]) for name in _order(counts)]
    return [("all", counts.total()), *(named if release.centre else [])]


def _order(groups: Iterable[str]) -> list[str]:
    """Groups as they are shown: by name, then those of which none is known."""
    return sorted(groups, key=lambda name: (not name, name))


def _missing_values(release: Release, known: Iterable[_Known]) -> list[MissingValues]:
    groups: dict[str, list[_Known]] = {}
    for each in known:
        groups.setdefault(each.group(release), []).append(each)
    of_each = [groups[name] for name in _order(groups)] if release.centre else []
    columns = [[each for of in groups.values() for each in of], *of_each]
    return [
        MissingValues(
            variable.column,
            _meaning(variable),
            variable.known is Known.OUTCOME,
            [(sum(each.clinical(variable.column) is None for each in of), len(of)) for of in columns],
        )
        for variable in release.variables
    ]


def _meaning(variable: Variable) -> str:
    return f"{variable.description}{' (outcome)' if variable.known is Known.OUTCOME else ''}"


def _with_unit(variable: Variable, value: Any) -> str:
    unit = _unit(variable)
    return f"{_words(value)} {unit}" if value is not None and unit else _words(value)


def _words(value: Any) -> str:
    """A value of a table or sidecar, for people."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return shown(value)
        case list() | tuple():
            return ", ".join(map(_words, value)) or "none"
        case _:
            return visible(str(value))


def _by(numbers: Iterable[float]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(f"{number:.3g}" for number in numbers)
