"""How the values of the page are collected from tables, sidecars and findings. No volume is read."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from isles_assets.report.report import (
    Distribution,
    FindingLine,
    Measure,
    MissingProduct,
    MissingValues,
    Report,
    Status,
    SubjectReport,
    WaiverLine,
)
from isles_assets.report.statistics import Outlier, format_number, histogram, outliers, quartiles_of, rare
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow

Failures = Mapping[tuple[str, str], str]
"""Why the last attempt to make a product failed, by asset and subject."""
NO_FAILURES: Failures = MappingProxyType({})

NOTHING = "\N{EN DASH}"
"""Stands for a value that is missing."""

_DIGITS = 5
"""Significant digits of a measure: rounding in a header or table must not make subjects differ."""

_MAX_FINDINGS = 30
"""Number of findings listed for one subject, and for none."""


def collect(
    dataset: Dataset,
    evidence: Evidence,
    repo: str,
    *,
    failures: Failures = NO_FAILURES,
    render: Render = str,
    workers: int = 1,
) -> Report:
    """Return the report on what there is of `dataset`, even if products are missing or checks are red.

    Args:
        render: Words what to do.

    Raises:
        Refusal: The manifest or the clinical table is missing, or a file of waivers cannot be understood.
    """
    release, folder = dataset.release, evidence.folder
    subjects = _subject_data(dataset, folder, evidence.manifest, workers, failures, render)
    judgement = judge_all(evidence)
    findings = _findings_by_subject(release, judgement, render)
    measures = dict(_measures(release))
    values = {m.key: {name: number for name, subject in subjects.items() if (number := read(subject)) is not None}
              for m, read in measures.items()}  # fmt: skip
    unusual = _unusual(release, subjects, measures, values)
    reports = [
        _subject_report(dataset, folder, subject, findings.get(name, []), unusual[name], values)
        for name, subject in subjects.items()
    ]
    general = findings.get("", [])
    return Report(
        release=release,
        synthetic=any(report.synthetic for report in reports),
        repo=repo,
        tree=str(evidence.root),
        compared=evidence.listing.compared("files by name and size"),
        subjects=sorted(reports, key=lambda report: (-report.rank, report.subject)),
        product_counts=[
            (product.plural, sum(product.name in subject.sidecars for subject in subjects.values()))
            for product in dataset.products
        ],
        stopping=len(judgement.stopping),
        waived=len(judgement.waived),
        notes=len(judgement.notes),
        missing_products=sum(len(subject.missing_products) for subject in subjects.values()),
        findings=general[:_MAX_FINDINGS],
        more_findings=max(0, len(general) - _MAX_FINDINGS),
        how_to_waive=how_to_waive(release, judgement.stopping, folder.waivers),
        waivers=_waiver_lines(release, evidence.waivers, judgement),
        measures=list(measures),
        distributions=[
            _distribution(
                measure,
                values[measure.key],
                len(subjects),
                sum(measure.title in dict(of_subject) for of_subject in unusual.values()),
            )
            for measure in measures
        ],
        groups=_groups(release, subjects.values()),
        missing_values=_missing_values(release, subjects.values()),
    )


@dataclass(frozen=True)
class _Subject:
    """What tables and sidecars hold of one subject."""

    name: str
    row: ManifestRow | None
    sidecars: Mapping[str, Sidecar]
    """By product."""
    missing_products: Sequence[MissingProduct]

    def voxels(self, column: str) -> Voxels | None:
        """Return what decoding a volume showed, for whichever product; None if it was not decoded."""
        sources = (sidecar.sources.get(column) for sidecar in self.sidecars.values())
        return next((source.voxels for source in sources if source and source.voxels), None)

    def clinical(self, column: str) -> Any:
        """Return a clinical value; None if it is missing."""
        return self.row.clinical.get(column) if self.row else None

    def group(self, release: Release) -> str:
        """Return the centre; empty if there is none."""
        value = self.clinical(release.centre) if release.centre else None
        return "" if value is None else str(value)


def _subject_data(
    dataset: Dataset,
    folder: DataFolder,
    manifest: Mapping[str, ManifestRow],
    workers: int,
    failures: Failures,
    render: Render,
) -> dict[str, _Subject]:
    rows = [manifest[name] for name in dataset.release.subjects if name in manifest]
    states = {product.name: states_of(product, folder, rows, workers=workers) for product in dataset.products}
    subjects = {}
    for name in dataset.release.subjects:
        own = {product: of_subject[name] for product, of_subject in states.items() if name in of_subject}
        sidecars = {product: state.sidecar for product, state in own.items() if state.sidecar}
        missing = [
            MissingProduct(
                visible(own[product.name].reason),
                render(Materialize((product.asset,), name)),
                visible(failures.get((product.asset, name), "")),
            )
            for product in dataset.products
            if product.name in own and product.name not in sidecars
        ]
        if not own:
            missing = [MissingProduct("is not in the manifest", "see the checks of subject_manifest")]
        subjects[name] = _Subject(name, manifest.get(name), sidecars, missing)
    return subjects


_ReadValue = Callable[[_Subject], float | None]


def _measures(release: Release) -> Iterator[tuple[Measure, _ReadValue]]:
    """Yield the measures: volumes of masks, grids, series, and the clinical variables of a first look."""
    for volume in release.volumes:
        if volume.content is Content.MASK:
            yield Measure(f"{volume.column}_ml", volume.column, "mL"), _ml(volume)
    for volume in _with_grids(release):
        for suffix, word, choose in (("least", "least", min), ("most", "greatest", max)):
            measure = Measure(f"{volume.column}_{suffix}_mm", f"{volume.column}: {word} spacing", "mm", of_grid=True)
            yield measure, _spacing(volume, choose)
        if volume is not release.reference:
            yield Measure(f"{volume.column}_frames", f"{volume.column}: frames", of_grid=True), _frames(volume)
    for variable in release.variables:
        is_number = variable.kind is not Kind.LEVEL and variable.column != release.centre
        if is_number and variable.column in release.first_look:
            yield Measure(variable.column, variable.column, _unit(variable)), _value(variable)


def _with_grids(release: Release) -> list[Volume]:
    """Return the volumes whose grids are compared: the reference, and the series as they were acquired."""
    series = [v for v in release.volumes if v.content is Content.CT_SERIES and v.grid is Grid.NATIVE]
    return [release.reference, *series]


def _ml(volume: Volume) -> _ReadValue:
    def read(subject: _Subject) -> float | None:
        voxels = subject.voxels(volume.column)
        return None if voxels is None or voxels.marked_ml is None else _rounded(voxels.marked_ml)

    return read


def _spacing(volume: Volume, choose: Callable[[Iterable[float]], float]) -> _ReadValue:
    def read(subject: _Subject) -> float | None:
        entry = subject.row.volumes[volume.column] if subject.row else None
        return _rounded(choose(entry.spacing)) if entry and entry.spacing and not entry.transform else None

    return read


def _frames(volume: Volume) -> _ReadValue:
    def read(subject: _Subject) -> float | None:
        entry = subject.row.volumes[volume.column] if subject.row else None
        return entry.frames if entry else None

    return read


def _value(variable: Variable) -> _ReadValue:
    def read(subject: _Subject) -> float | None:
        value = subject.clinical(variable.column)
        return None if value is None else _rounded(value)

    return read


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _unit(variable: Variable) -> str:
    """Return the unit; empty for a duration, because its column names it."""
    return "" if variable.kind is Kind.MINUTES else variable.unit or ""


def _unusual(
    release: Release,
    subjects: Mapping[str, _Subject],
    measures: Iterable[Measure],
    values: Mapping[str, Mapping[str, float]],
) -> dict[str, list[tuple[str, Outlier]]]:
    """Return how each subject is unlike the others: the measure, or the mask that is empty, and the outlier."""
    unusual: dict[str, list[tuple[str, Outlier]]] = {name: [] for name in subjects}
    for measure in measures:
        for name, outlier in outliers(values[measure.key]).items():
            unusual[name].append((measure.title, outlier))
    for volume in release.volumes:
        if volume.content.is_mask:
            decoded = {name: voxels for name, subject in subjects.items() if (voxels := subject.voxels(volume.column))}
            empty = [name for name, voxels in decoded.items() if voxels.empty]
            for name, outlier in rare(empty, len(decoded)).items():
                unusual[name].append((f"{volume.column} is empty", outlier))
    return unusual


def _subject_report(
    dataset: Dataset,
    folder: DataFolder,
    subject: _Subject,
    findings: Sequence[FindingLine],
    unusual: Sequence[tuple[str, Outlier]],
    values: Mapping[str, Mapping[str, float]],
) -> SubjectReport:
    release = dataset.release
    return SubjectReport(
        subject=subject.name,
        status=_status(subject, findings, unusual),
        group=subject.group(release),
        synthetic=any(sidecar.synthetic for sidecar in subject.sidecars.values())
        or (subject.row is not None and subject.row.synthetic),
        values={key: by_subject.get(subject.name) for key, by_subject in values.items()},
        first_look=[
            (v.column, _format_value(subject.clinical(v.column)))
            for v in release.variables
            if v.column in release.first_look and v.column not in values
        ],
        grids=[(volume.column, _grid(volume, subject)) for volume in _with_grids(release)],
        facts=[*_volume_facts(release, subject), *_product_facts(dataset, subject)],
        clinical=[(v.column, _with_unit(v, subject.clinical(v.column)), _meaning(v)) for v in release.variables],
        missing_values=sum(subject.clinical(variable.column) is None for variable in release.variables),
        missing_products=subject.missing_products,
        unusual=sorted(unusual, key=lambda named: -named[1].score),
        findings=findings[:_MAX_FINDINGS],
        more_findings=max(0, len(findings) - _MAX_FINDINGS),
        picture=_picture(dataset, folder, subject),
    )


def _status(subject: _Subject, findings: Sequence[FindingLine], unusual: Sequence[tuple[str, Outlier]]) -> Status:
    levels = {finding.level for finding in findings}
    if levels & {"fatal", "waivable"}:
        return Status.STOPS
    if subject.missing_products:
        return Status.MISSING
    if unusual:
        return Status.UNUSUAL
    if "waived" in levels:
        return Status.WAIVED
    return Status.NOTED if levels else Status.FINE


def _volume_facts(release: Release, subject: _Subject) -> Iterator[tuple[str, str, str]]:
    """Yield column, grid and meaning of the reference and of the volumes with a grid of their own."""
    for volume in release.volumes:
        if volume is release.reference or volume.grid is Grid.NATIVE:
            entry = subject.row.volumes[volume.column] if subject.row else None
            of_type = f", {entry.dtype}" if entry and entry.dtype else ""
            yield volume.column, f"{_grid(volume, subject)}{of_type}", volume.description


def _grid(volume: Volume, subject: _Subject) -> str:
    """Return shape and spacing of a volume, for people."""
    entry = subject.row.volumes[volume.column] if subject.row else None
    if entry is None or not entry.shape:
        return "is missing" if entry is None else "cannot be read"
    spacing = f"{_format_sizes(entry.spacing)} mm" if entry.spacing and not entry.transform else "spacing unknown"
    frames = f", {entry.frames} frames" if entry.frames and volume.dimensions > len(entry.shape[:3]) else ""
    return f"{_format_sizes(entry.shape[:3])}{frames}, {spacing}"


def _product_facts(dataset: Dataset, subject: _Subject) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and meaning of the facts in the subject's sidecars."""
    for product in dataset.products:
        if sidecar := subject.sidecars.get(product.name):
            meanings = product.fact_descriptions
            yield from ((name, _format_value(value), meanings.get(name, "")) for name, value in sidecar.facts.items())


def _picture(dataset: Dataset, folder: DataFolder, subject: _Subject) -> bytes | None:
    """Return the montage of the first product that has one of the subject."""
    for product in dataset.products:
        if sidecar := subject.sidecars.get(product.name):
            try:
                if montage := product.montage(folder, sidecar):
                    return montage
            except Refusal:  # the product was replaced or removed after its state was read: it counts as missing
                continue
    return None


def _findings_by_subject(release: Release, judgement: Judgement, render: Render) -> dict[str, list[FindingLine]]:
    """Return all findings, the worst first, by subject; those of no subject of the release under the empty name."""
    findings: dict[str, list[FindingLine]] = {}
    for finding, level, reason in judgement.levelled:
        subject = finding.subject or release.subject_of(finding.path)
        subject = subject if subject in release.subjects else ""
        findings.setdefault(subject, []).append(_finding_line(finding, level, reason, render))
    return findings


def _finding_line(finding: Finding, level: str, reason: str, render: Render) -> FindingLine:
    where = finding.path or finding.subject
    return FindingLine(level, visible(where), visible(finding.problem), visible(render(finding.mend)), visible(reason))


def _waiver_lines(release: Release, waivers: Iterable[Waiver], judgement: Judgement) -> list[WaiverLine]:
    covers = Counter(waiver for _, waiver in judgement.waived)
    return [WaiverLine(waiver, waiver in release.waivers, covers[waiver]) for waiver in waivers]


def _distribution(measure: Measure, values: Mapping[str, float], subjects: int, unusual: int) -> Distribution:
    numbers = list(values.values())
    return Distribution(
        measure, histogram(numbers), quartiles_of(numbers), len(numbers), subjects - len(numbers), unusual
    )


def _groups(release: Release, subjects: Iterable[_Subject]) -> list[tuple[str, int]]:
    """Return name and size of each group: all subjects, and those of each centre if the release names centres."""
    counts = Counter(subject.group(release) for subject in subjects)
    centres = [
        (f"{release.centre} {name}" if name else f"no {release.centre}", counts[name]) for name in _order(counts)
    ]
    return [("all", counts.total()), *(centres if release.centre else [])]


def _order(groups: Iterable[str]) -> list[str]:
    """Return the names sorted, the empty one last."""
    return sorted(groups, key=lambda name: (not name, name))


def _missing_values(release: Release, subjects: Iterable[_Subject]) -> list[MissingValues]:
    groups: dict[str, list[_Subject]] = {}
    for subject in subjects:
        groups.setdefault(subject.group(release), []).append(subject)
    centres = [groups[name] for name in _order(groups)] if release.centre else []
    columns = [[subject for group in groups.values() for subject in group], *centres]
    return [
        MissingValues(
            variable.column,
            _meaning(variable),
            [(sum(subject.clinical(variable.column) is None for subject in group), len(group)) for group in columns],
        )
        for variable in release.variables
    ]


def _meaning(variable: Variable) -> str:
    return f"{variable.description}{' (outcome)' if variable.known is Known.OUTCOME else ''}"


def _with_unit(variable: Variable, value: Any) -> str:
    unit = _unit(variable)
    return f"{_format_value(value)} {unit}" if value is not None and unit else _format_value(value)


def _format_value(value: Any) -> str:
    """Return a value of a table or sidecar as text for people."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return format_number(value)
        case list() | tuple():
            return ", ".join(map(_format_value, value)) or "none"
        case _:
            return visible(str(value))


def _format_sizes(numbers: Iterable[float]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(f"{number:.3g}" for number in numbers)
