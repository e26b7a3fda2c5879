"""`Release` and the types of its fields, and `isles24`, the facts of ISLES'24 v7.

Add here facts that are known before a file is read. Reading goes to `reading`, and products of the files to `products`.
A fact is in one place of the release's own module; everything else is derived from it.
"""
