"""A synthetic tree in a release's exact layout, for tests, the demo and benchmarks. No patient is in it.

`tree.make_sample` writes it. Layout, volumes and variables are those of the `Release` that is asked for; what its files
look like inside (grids, data types, cell types, sizes) follows ISLES'24's fact sheet, section numbers of which stand
beside the constants. Only the command `isles24 sample` and the asset `raw_tree` import this room.
"""
