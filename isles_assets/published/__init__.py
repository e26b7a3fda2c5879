"""What readers do with a published dataset: a table of the clinical variables, and layouts for other tools.

It imports neither Dagster nor anything that builds the dataset. Add a form of export as a module here, and its line in
`cli.export`. `source` finds the files, `linking` and `folder` write an export, `voxels` and `grids` read and change
volumes. Fetching published files goes to `hub`, what is published to `publication`.
"""
