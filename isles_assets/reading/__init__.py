"""Reading the files of a release: the tree, NIfTI files, workbooks.

Add a kind of file here. Expectations of a file go to `release`, results derived from it to `tables` and `products`, and
judgements on it to `publication.properties`.
"""
