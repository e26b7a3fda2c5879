"""Mends that several properties name."""

RESTORE = "restore it from the release archive"
ANOTHER = "this is another release, or another folder: take the archive that the README names"
