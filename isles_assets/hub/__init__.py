"""Where the dataset is published, a module a target, and how it is read back. Add a target and its line in `targets`.

What is published is decided in `publication`; here it is moved, compared and read.
"""
