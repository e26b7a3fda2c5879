"""Where the release comes from: Zenodo's API, the download of the archive, and its extraction into a tree.

Add here what happens before there is a tree. The room `reading` reads the files of a tree.
"""
