"""Texts and kinds of problems that several properties use."""

from isles_assets.release.problems import Problem

OF_BYTES = (Problem.OTHER_BYTES.code, Problem.OTHER_BYTES_EXTRACTED.code)
"""Problems with the bytes of a workbook, apart from its values. `workbooks_of_archive` reports them."""

NOTHING_TO_DO = "nothing has to be done: it is not published"
RESTORE = "restore it from the release archive"
ANOTHER = "this is another release, or another folder: take the archive that the operating guide names"
