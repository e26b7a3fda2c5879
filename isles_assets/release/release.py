"""`Release`: all that is known of a release before its files are looked at.

Add a field here if releases differ in it; the values go into the release's own module, such as `isles24`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from isles_assets.lib.findings import Finding, Refusal
from isles_assets.release.clinical import Dictionary, Variable, Workbook
from isles_assets.release.oddities import Oddity, StrayFile, Trait
from isles_assets.release.volumes import Grid, Volume
from isles_assets.release.waivers import Waiver
from isles_assets.release.zenodo_record import Citation, ZenodoRecord


@dataclass(frozen=True)
class Release:
    """One version of a dataset in BIDS-like folders, a subject each with the same volumes and workbooks.

    `name` is a short one for code, `label` one for people, `about` says what the subjects have, for the card,
    `repo` is the dataset repo that it is published to by default. `volumes` and `variables` stand in the order of the
    published columns. The first volume on the common grid is the one that defines it. `known_text` are patterns of free
    text in headers that tools write; `tags` and `task_categories` are the Hub's. `examples` are the columns that the
    card's examples show: two volumes and a variable; `first_look` are the clinical variables to look at first.
    `centre` is the variable that says where a subject was treated; empty if none does.
    `waivers` are of findings that others have seen in the release. `is_part`: it has some of the subjects only.
    """

    name: str
    label: str
    about: str
    repo: str
    subjects: tuple[str, ...]
    volumes: tuple[Volume, ...]
    workbooks: tuple[Workbook, ...]
    variables: tuple[Variable, ...]
    dictionary: Dictionary | None
    record: ZenodoRecord
    examples: tuple[str, str, str]
    first_look: tuple[str, ...]
    centre: str = ""
    earlier: tuple[ZenodoRecord, ...] = ()
    oddities: tuple[Oddity, ...] = ()
    stray_files: tuple[StrayFile, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    is_part: bool = False
    citations: tuple[Citation, ...] = ()
    known_text: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    task_categories: tuple[str, ...] = ("image-segmentation",)

    def __post_init__(self) -> None:
        """Raises `ValueError` for a table that is at odds with itself, when the code is loaded."""
        columns = [*(volume.column for volume in self.volumes), *(variable.column for variable in self.variables)]
        if twice := {column for column in columns if columns.count(column) > 1}:
            raise ValueError(f"{self.name}: more than one column is named {', '.join(sorted(twice))}")
        if unknown := {*self.examples, *self.first_look, self.centre or columns[0]}.difference(columns):
            named = ", ".join(sorted(unknown))
            raise ValueError(f"{self.name}: examples, first_look or centre name {named}, which is no column")
        if strange := {variable.workbook for variable in self.variables}.difference(self.workbooks):
            raise ValueError(f"{self.name}: {', '.join(book.entities for book in strange)} is not among the workbooks")

    @property
    def version(self) -> str:
        """The record's version, such as `v7`."""
        return self.record.version

    @cached_property
    def by_column(self) -> dict[str, Volume]:
        return {volume.column: volume for volume in self.volumes}

    @cached_property
    def reference(self) -> Volume:
        """The volume whose grid is the common one."""
        return next(volume for volume in self.volumes if volume.grid is Grid.COMMON)

    @property
    def common_grid(self) -> str:
        """What the common grid is called, for people."""
        return self.reference.column.upper()

    @property
    def registered(self) -> tuple[Volume, ...]:
        """The volumes that must be on the grid of the reference."""
        return tuple(v for v in self.volumes if v.grid is Grid.COMMON and v is not self.reference)

    @property
    def _places(self) -> tuple[Volume | Workbook, ...]:
        return (*self.volumes, *self.workbooks)

    @property
    def sessions(self) -> tuple[str, ...]:
        """The names of the sessions, sorted."""
        return tuple(sorted({place.session for place in self._places}))

    @cached_property
    def tops(self) -> tuple[str, ...]:
        """The folders at the tree's root."""
        return tuple(dict.fromkeys(place.top for place in self._places))

    def describe(self, text: str) -> str:
        """`text` with numbers and names of the release for what stands in braces, such as `{subjects}`."""
        return text.format(
            subjects=len(self.subjects),
            volumes=len(self.volumes),
            workbooks=len(self.workbooks),
            variables=len(self.variables),
            sessions=" and ".join(self.sessions),
            common_grid=self.common_grid,
        )

    def variables_of(self, workbook: Workbook) -> list[Variable]:
        """The variables that `workbook` holds."""
        return [variable for variable in self.variables if variable.workbook == workbook]

    def subjects_with(self, trait: Trait) -> tuple[str, ...]:
        """The subjects that are known for `trait`."""
        return tuple(s for oddity in self.oddities if oddity.trait is trait for s in oddity.subjects)

    def subject_paths(self, subject: str) -> list[str]:
        """The volumes and workbooks of `subject`, relative to the tree's root."""
        return [place.path(subject) for place in self._places]

    def expected_paths(self) -> list[str]:
        """Every file that the tree must hold."""
        dictionary = [self.dictionary.path] if self.dictionary else []
        return [*dictionary, *(path for subject in self.subjects for path in self.subject_paths(subject))]

    def subject_of(self, path: str) -> str:
        """The subject whose file `path`, relative to the tree's root, is by its folder; empty for none."""
        match = self._subject_folder.match(path)
        return match.group(1) if match else ""

    @cached_property
    def _subject_folder(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{'|'.join(map(re.escape, self.tops))})/(sub-[^/]+)")

    def only(self, subjects: Iterable[str]) -> "Release":
        """The part of the release with these subjects, in its order. Raises `Refusal` for one that it does not have."""
        wanted = set(subjects)
        if unknown := sorted(wanted.difference(self.subjects)):
            mend = f"use ids like {self.subjects[0]}"
            findings = [Finding("is no subject of the release", mend, subject=subject) for subject in unknown]
            raise Refusal("There is no such part of the release.", findings)
        return replace(
            self,
            subjects=tuple(subject for subject in self.subjects if subject in wanted),
            is_part=True,
            waivers=tuple(waiver for waiver in self.waivers if waiver.subject in wanted or not waiver.subject),
        )
