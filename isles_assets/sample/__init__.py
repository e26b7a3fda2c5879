"""A synthetic tree in a release's exact layout, for tests, the demo and benchmarks. It holds no patient's data.

`tree.make_sample` writes it. Layout, volumes and variables are those of a `Release`. The content of the files (grids,
data types, cell types, sizes) follows ISLES'24's fact sheet; module docstrings name its sections. Only the command
`isles24 sample` and the asset `raw_tree` import this room.
"""
