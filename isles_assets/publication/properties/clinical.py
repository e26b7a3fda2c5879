"""Properties of the clinical table, of its workbooks, and of the dictionary workbook."""

from collections import Counter
from collections.abc import Iterable, Iterator

from isles_assets.lib.findings import Finding
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties.words import ANOTHER, OF_BYTES, RESTORE
from isles_assets.publication.property import enforced
from isles_assets.reading.workbooks import WorkbookError, read_dictionary
from isles_assets.release.problems import Problem
from isles_assets.tables.clinical import clinical_schema, clinical_values
from isles_assets.tables.storage import SUBJECT_COLUMN

_AS_IT_IS = "nothing to do: the value is made from the workbooks, not from the dictionary"


def _rows_looked_at(evidence: Evidence) -> str:
    return f"{evidence.clinical.num_rows} rows, {len(evidence.release.subjects)} subjects"


def _variables_looked_at(evidence: Evidence) -> str:
    rows, table = evidence.clinical.num_rows, evidence.clinical
    missing = {name: table.column(name).null_count for name in table.column_names}
    emptiest = max(missing, key=lambda name: missing[name])
    return f"{len(missing) - 1} variables; most values are missing in `{emptiest}`: {missing[emptiest]} of {rows}"


def _workbooks_looked_at(evidence: Evidence) -> str:
    books = [book.entities for book in evidence.release.workbooks]
    return f"the workbooks {' and '.join(books)} of {evidence.clinical.num_rows} subjects, every cell of them"


def _dictionary_looked_at(evidence: Evidence) -> str:
    listed = sum(variable.dictionary is not None for variable in evidence.release.variables)
    return f"names and units of {listed} variables"


def _values_looked_at(evidence: Evidence) -> str:
    table = evidence.clinical
    names = [variable.column for variable in evidence.release.variables if variable.column in table.column_names]
    there = sum(table.num_rows - table.column(name).null_count for name in names)
    return f"{there:,} values of {len(names)} variables; a range or levels for each"


@enforced("clinical_table", blocking=True, looked_at=_rows_looked_at)
def one_row_per_subject(evidence: Evidence) -> Iterator[Finding]:
    """The clinical table has exactly one row for each of the {subjects} subjects."""
    subjects, (baseline, *_) = evidence.release.subjects, evidence.release.workbooks
    rows = Counter(evidence.clinical.column(SUBJECT_COLUMN).to_pylist())
    for subject in sorted({*subjects, *rows}):
        if rows[subject] != (subject in subjects):
            problem, mend = f"gives {rows[subject]} rows", f"one subject has one row; {RESTORE}"
            yield Problem.WRONG_ROWS.finding(problem, mend, path=baseline.path(subject), subject=subject)


@enforced("clinical_table", looked_at=_variables_looked_at)
def all_variables(evidence: Evidence) -> Iterator[Finding]:
    """The clinical table has all {variables} variables, of their types, each with a value in at least one subject."""
    clinical, again = evidence.clinical, "materialize clinical_table again"
    for field in clinical_schema(evidence.release):
        index = clinical.schema.get_field_index(field.name)
        if index < 0:
            yield Problem.WRONG_COLUMN.finding(f"column `{field.name}` is missing", again)
        elif clinical.schema.field(index).type != field.type:
            problem = f"column `{field.name}` is {clinical.schema.field(index).type}, not {field.type}"
            yield Problem.WRONG_COLUMN.finding(problem, again)
        elif clinical.num_rows and clinical.column(index).null_count == clinical.num_rows:
            problem = f"column `{field.name}` is empty in every subject"
            if evidence.release.is_part:
                yield Problem.EMPTY_IN_PART.finding(problem, "nothing to do: it is a part of the release")
            else:
                broken = f"{problem}, as in the broken tables of release v3"
                yield Problem.EMPTY_VARIABLE.finding(broken, ANOTHER, found=field.name)


@enforced("clinical_table", looked_at=_workbooks_looked_at)
def readable_workbooks(evidence: Evidence) -> Iterable[Finding]:
    """Every clinical workbook and every cell of it can be read; a value that cannot be read is null."""
    return [finding for finding in evidence.clinical_findings if finding.code not in OF_BYTES]


@enforced(
    "clinical_table",
    on_card=False,
    when=lambda release: release.dictionary is not None,
    looked_at=_dictionary_looked_at,
)
def dictionary_agreement(evidence: Evidence) -> Iterator[Finding]:
    """The release's dictionary workbook lists the variables under the names and units that are expected."""
    dictionary = evidence.release.dictionary
    assert dictionary
    path = dictionary.path
    try:
        listed = {entry.parameter: entry.unit for entry in read_dictionary(dictionary, evidence.root)}
    except WorkbookError as error:
        yield error.kind.finding(str(error), error.mend, path=path, found=error.found)
        return
    expected = {variable.dictionary: variable for variable in evidence.release.variables if variable.dictionary}
    for name, variable in expected.items():
        unit = listed.get(name, "")
        if name not in listed:
            yield Problem.DICTIONARY.finding(f"does not list `{name}` (`{variable.header}`)", _AS_IT_IS, path=path)
        elif unit.lower() == (variable.unit or "").lower():
            continue
        elif unit and variable.unit:
            problem = f"gives `{name}` in {unit}; `{variable.column}` is made from {variable.unit}"
            yield Problem.DICTIONARY_UNIT.finding(problem, ANOTHER, path=path, found=f"{variable.column} in {unit}")
        else:
            problem = f"gives `{name}` in {unit or 'no unit'}; {variable.unit or 'none'} is expected"
            yield Problem.DICTIONARY.finding(problem, _AS_IT_IS, path=path)
    for name in listed:
        if name not in (*expected, dictionary.identifier):
            yield Problem.DICTIONARY.finding(f"lists `{name}`, which no variable has", _AS_IT_IS, path=path)


@enforced("clinical_table", looked_at=_values_looked_at)
def value_ranges(evidence: Evidence) -> Iterator[Finding]:
    """Clinical values lie in their range or among their levels; an odd one is published as it is."""
    mend = "published as it is; tell the release's authors"
    for subject, values in clinical_values(evidence.clinical).items():
        for variable in evidence.release.variables:
            value = values.get(variable.column)
            if value is not None and not variable.allows(value):
                problem, path = (
                    f"`{variable.header}` is {value}, outside {variable.allowed}",
                    variable.workbook.path(subject),
                )
                yield Problem.OUT_OF_RANGE.finding(problem, mend, path=path, subject=subject)
