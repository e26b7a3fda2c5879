"""Mends and kinds of problems that several properties name."""

from isles_assets.release.problems import Problem

OF_BYTES = (Problem.OTHER_BYTES.code, Problem.OTHER_BYTES_EXTRACTED.code)
"""What is wrong with a workbook's bytes, whatever they say: `workbooks_of_archive` tells it."""

NOTHING_TO_DO = "nothing has to be done: it is not published"
RESTORE = "restore it from the release archive"
ANOTHER = "this is another release, or another folder: take the archive that the operating guide names"
