"""The tables between assets, from `archive_listing` to `subject_manifest`, and the data folder that holds them.

Add a table of the whole release here. Products of single subjects go to `products`.
"""

TREE_ASSETS = ("raw_tree", "clinical_table", "subject_manifest")
"""The assets to materialize when the tree has changed."""
