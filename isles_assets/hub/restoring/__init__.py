"""Back from a published dataset to the release's files, byte for byte, and its clinical table.

What is read from where is in `hub.reading`; the command is `cli.restore`.
"""
