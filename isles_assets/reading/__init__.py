"""Reading what a release's files say: the tree, NIfTI files, workbooks.

Add a kind of file here. What a file should say goes to `release`, what follows from it to `tables` and `products`, and
what is wrong with it to `publication.properties`.
"""
