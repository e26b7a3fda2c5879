"""Publishing to a target, and reading back. Each target has a module here and a line in `targets`.

`publication` decides what to publish; this package moves, compares and reads it.
"""
