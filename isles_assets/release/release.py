"""`Release`: the facts of a release that are known before its files are read.

Add a field here if releases differ in it. Its values go into the release's own module, such as `isles24`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from isles_assets.lib.findings import Finding, Refusal
from isles_assets.release.clinical import Dictionary, Known, Variable, Workbook
from isles_assets.release.guidance import Guidance
from isles_assets.release.oddities import Oddity, StrayFile, Trait
from isles_assets.release.volumes import Grid, Volume
from isles_assets.release.waivers import Waiver
from isles_assets.release.zenodo_record import Citation, ZenodoRecord


@dataclass(frozen=True)
class Release:
    """One version of a dataset in BIDS-like folders. Every subject has the same volumes and workbooks.

    Raises:
        ValueError: Fields contradict each other.
    """

    name: str  # short, for code
    label: str  # for people
    about: str  # what the subjects have, for the card
    repo: str  # dataset repo to publish to by default
    subjects: tuple[str, ...]
    volumes: tuple[Volume, ...]  # in the order of the published columns
    workbooks: tuple[Workbook, ...]
    variables: tuple[Variable, ...]  # in the order of the published columns
    dictionary: Dictionary | None
    record: ZenodoRecord
    examples: tuple[str, str]  # columns of volumes in the card's examples
    first_look: tuple[str, ...]  # clinical variables to look at first
    centre: str = ""  # variable that states where a subject was treated
    earlier: tuple[ZenodoRecord, ...] = ()
    oddities: tuple[Oddity, ...] = ()
    stray_files: tuple[StrayFile, ...] = ()
    waivers: tuple[Waiver, ...] = ()  # of findings that others have seen in the release
    left_out: tuple[str, ...] = ()  # subjects of the whole release that this part of it lacks
    citations: tuple[Citation, ...] = ()
    known_text: tuple[str, ...] = ()  # patterns of free text that tools write into headers
    tags: tuple[str, ...] = ()  # on the Hub
    guidance: Guidance | None = None
    task_categories: tuple[str, ...] = ("image-segmentation",)  # on the Hub

    def __post_init__(self) -> None:
        columns = [*(volume.column for volume in self.volumes), *(variable.column for variable in self.variables)]
        if repeated := {column for column in columns if columns.count(column) > 1}:
            raise ValueError(f"{self.name}: more than one column is named {', '.join(sorted(repeated))}")
        if unknown := {*self.examples, *self.first_look, self.centre or columns[0]}.difference(columns):
            names = ", ".join(sorted(unknown))
            raise ValueError(f"{self.name}: examples, first_look or centre name {names}, which is no column")
        if unlisted := {variable.workbook for variable in self.variables}.difference(self.workbooks):
            raise ValueError(f"{self.name}: {', '.join(book.entities for book in unlisted)} is not among the workbooks")

    @property
    def is_part(self) -> bool:
        """Whether it has only some of the subjects."""
        return bool(self.left_out)

    @property
    def version(self) -> str:
        """Version of the record, such as `v7`."""
        return self.record.version

    @cached_property
    def by_column(self) -> dict[str, Volume]:
        return {volume.column: volume for volume in self.volumes}

    @cached_property
    def reference(self) -> Volume:
        """The first volume on the common grid, which defines that grid."""
        return next(volume for volume in self.volumes if volume.grid is Grid.COMMON)

    @property
    def common_grid(self) -> str:
        """Name of the common grid, for people."""
        return self.reference.column.upper()

    @property
    def registered(self) -> tuple[Volume, ...]:
        """The volumes that must be on the grid of the reference."""
        return tuple(v for v in self.volumes if v.grid is Grid.COMMON and v is not self.reference)

    def known(self, volume: Volume) -> Known:
        """Return when the voxels of `volume` are known: those of the first session at admission."""
        return Known.ADMISSION if volume.session == self.sessions[0] else Known.OUTCOME

    @property
    def _volumes_and_workbooks(self) -> tuple[Volume | Workbook, ...]:
        return (*self.volumes, *self.workbooks)

    @property
    def sessions(self) -> tuple[str, ...]:
        """Names of the sessions, sorted."""
        return tuple(sorted({file.session for file in self._volumes_and_workbooks}))

    @cached_property
    def tops(self) -> tuple[str, ...]:
        """Folders at the tree's root."""
        return tuple(dict.fromkeys(file.top for file in self._volumes_and_workbooks))

    def describe(self, text: str) -> str:
        """Return `text` with its placeholders, such as `{subjects}`, replaced by the release's numbers and names."""
        return text.format(
            subjects=len(self.subjects),
            volumes=len(self.volumes),
            workbooks=len(self.workbooks),
            variables=len(self.variables),
            sessions=" and ".join(self.sessions),
            common_grid=self.common_grid,
        )

    def variables_of(self, workbook: Workbook) -> list[Variable]:
        """Return the variables in `workbook`."""
        return [variable for variable in self.variables if variable.workbook == workbook]

    def subjects_with(self, trait: Trait) -> tuple[str, ...]:
        """Return the subjects that are known to have `trait`."""
        return tuple(subject for oddity in self.oddities if oddity.trait is trait for subject in oddity.subjects)

    def subject_paths(self, subject: str) -> list[str]:
        """Return the paths of the volumes and workbooks of `subject`, relative to the tree's root."""
        return [file.path(subject) for file in self._volumes_and_workbooks]

    def expected_paths(self) -> list[str]:
        """Return the paths of all files that the tree must have, relative to its root."""
        dictionary = [self.dictionary.path] if self.dictionary else []
        return [*dictionary, *(path for subject in self.subjects for path in self.subject_paths(subject))]

    def subject_of(self, path: str) -> str:
        """Return the subject in whose folder `path`, relative to the tree's root, is; "" for none."""
        match = self._subject_folder.match(path)
        return match.group(1) if match else ""

    @cached_property
    def _subject_folder(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{'|'.join(map(re.escape, self.tops))})/(sub-[^/]+)")

    def only(self, subjects: Iterable[str]) -> "Release":
        """Return the part of the release with these subjects, in its order.

        Raises:
            Refusal: The release does not have one of them.
        """
        wanted, everyone = set(subjects), sorted((*self.subjects, *self.left_out))
        if unknown := sorted(wanted.difference(self.subjects)):
            mend = f"use ids like {self.subjects[0]}"
            findings = [Finding("is no subject of the release", mend, subject=subject) for subject in unknown]
            raise Refusal("The release has no such part.", findings)
        return replace(
            self,
            subjects=tuple(subject for subject in self.subjects if subject in wanted),
            left_out=tuple(subject for subject in everyone if subject not in wanted),
            waivers=tuple(waiver for waiver in self.waivers if waiver.subject in wanted or not waiver.subject),
        )
