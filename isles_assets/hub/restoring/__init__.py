"""Restoring the release's files, byte for byte, and the clinical table from a published dataset.

`hub.reading` reads the published files; `cli.restore` is the command.
"""
