"""Kinds of problems with the files of a release, and the level of each.

Only a problem with a certain fact may be `FATAL`. A problem with any other expectation is `WAIVABLE` or a `NOTE`, so no
guess can stop a release for good.
"""

from enum import Enum

from isles_assets.lib.findings import Finding, Level, Mend


class Problem(Enum):
    """A kind of problem: its level, and its meaning for readers of the dataset, without text of the release."""

    # The archive's listing, and files compared with it
    NOT_LISTED = Level.FATAL, "a file of the release that is not in the archive"
    LISTED_EXTRA = Level.NOTE, "a file in the archive that is not part of the release"
    OTHER_BYTES_EXTRACTED = Level.FATAL, "a file that differs from the archive's, though it was extracted from it"
    OTHER_BYTES = Level.WAIVABLE, "a file that differs from the archive's"

    # The tree
    SUBJECT_MISSING = Level.FATAL, "a subject that is missing"
    SUBJECT_UNKNOWN = Level.FATAL, "a subject that is not of the release"
    SESSION_NAME = Level.FATAL, "a session under another name"
    FILE_MISSING = Level.FATAL, "a file that is missing, or has another name"
    FILE_UNUSABLE = Level.FATAL, "a file that cannot be read, or something else in its place"
    LOOK_ALIKE = Level.WAIVABLE, "a second file or folder that could be taken for one of the release"
    FOREIGN_FILE = Level.NOTE, "a file that is not part of the release"

    # The clinical workbooks
    WRONG_ROWS = Level.FATAL, "no row, or more than one, for a subject"
    WRONG_COLUMN = Level.FATAL, "a column of the clinical table that is missing or of another type"
    EMPTY_VARIABLE = Level.WAIVABLE, "a clinical variable that is empty in every subject"
    EMPTY_IN_PART = Level.NOTE, "a clinical variable that is empty in every subject of a part of the release"
    WORKBOOK_DAMAGED = Level.FATAL, "a workbook that is missing, or cannot be opened"
    WORKBOOK_FORM = Level.WAIVABLE, "a workbook of another form; values that could not be read are null"
    WORKBOOK_HEADER = Level.NOTE, "a header of a workbook with unusual blanks or hyphens"
    WORKBOOK_EXTRA = Level.NOTE, "a column or sheet of a workbook that is not published"
    ROWS_DIFFER = Level.WAIVABLE, "rows of one subject that differ; the cells that do are null"
    CELL_UNREADABLE = Level.WAIVABLE, "a cell that cannot be read; its value is null"
    CELL_NOT_CALCULATED = Level.WAIVABLE, "a formula without a calculated value; its value is null"
    OUT_OF_RANGE = Level.NOTE, "a clinical value outside its range or levels"
    DICTIONARY_UNIT = Level.WAIVABLE, "another unit in the dictionary workbook than the column's"
    DICTIONARY = Level.NOTE, "a difference in the dictionary workbook"

    # The volumes, by their headers
    VOLUME_MISSING = Level.FATAL, "a volume that is missing"
    HEADER = Level.FATAL, "a volume whose header cannot be read"
    DIMENSIONS = Level.WAIVABLE, "a volume with another number of axes"
    VOXEL_TYPE = Level.WAIVABLE, "voxels that are not numbers"
    OFF_GRID = Level.WAIVABLE, "a registered volume off the common grid by half a voxel or more"
    GRID_ROUNDING = Level.NOTE, "a registered volume off the common grid by less than half a voxel"
    TRANSFORM_UNUSABLE = Level.WAIVABLE, "a volume whose affine does not span space"
    TRANSFORMS_DISAGREE = Level.WAIVABLE, "a qform and an sform that differ by half a voxel or more"
    TRANSFORMS_ROUNDING = Level.NOTE, "a qform and an sform that differ by less than half a voxel"
    PIXDIM = Level.NOTE, "a pixdim that is not the spacing of the affine"
    TEXT = Level.WAIVABLE, "free text inside a volume's file that could identify somebody"
    GZIP_NAME = Level.WAIVABLE, "another file name inside the gzip files of volumes, which could identify somebody"

    # The volumes, decoded
    NOT_DECODED = Level.NOTE, "volumes that were packed without decoding them"
    NOT_DECODED_FOR_HUB = Level.WAIVABLE, "volumes on their way to the Hub that were packed without decoding them"
    LABELS = Level.WAIVABLE, "a mask with labels that are not expected"
    MASK_VALUES = Level.WAIVABLE, "a mask with values that are no labels"
    NON_FINITE = Level.NOTE, "voxels that are NaN or infinite"
    TRAILING_BYTES = Level.NOTE, "zero bytes after the end of the gzip stream"
    TRAILING_GARBAGE = Level.WAIVABLE, "bytes after the end of the gzip stream at which the datasets library stops"
    SURPLUS_DATA = Level.WAIVABLE, "bytes after the last voxel"

    # Waivers
    WAIVER_UNUSED = Level.NOTE, "a waiver that covers nothing"

    def __init__(self, level: Level, meaning: str):
        self.level = level
        self.meaning = meaning

    @property
    def code(self) -> str:
        """Its name in waivers and in published files, such as `off-grid`."""
        return self.name.lower().replace("_", "-")

    def finding(self, problem: str, mend: Mend, *, path: str = "", subject: str = "", found: str = "") -> Finding:
        """Return a finding of this kind.

        Args:
            found: What was found, such as `3 bytes`, if a waiver of it must not cover another value found later. Empty
                for notes. It is published, so it must hold no text of the release.
        """
        code_and_details = f"{self.code} {found}" if found else self.code
        return Finding(problem, mend, path, subject, self.level, self.code, code_and_details)


def problem_of(code: str) -> Problem:
    """Return the kind of problem with this code. Raise `KeyError` if there is none."""
    return Problem[code.upper().replace("-", "_")]
