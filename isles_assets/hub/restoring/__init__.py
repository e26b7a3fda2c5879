"""Back from a published dataset to the release's files, byte for byte, and its clinical table."""
