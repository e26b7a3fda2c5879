"""Where the release comes from: Zenodo's API, the download of the archive, and its extraction into a tree.

Add here what happens before a tree is there. What is in the tree is read in `reading`.
"""
