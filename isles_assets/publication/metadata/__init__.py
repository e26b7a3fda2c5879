"""The files in `metadata/` of the repo, which describe the others for programs: columns, volumes, waivers.

Each table is a module with a function that returns its text. To add one, write its module, name its path in
`products.config.METADATA`, and add its line to `files`. What people read goes to `card`.
"""
