"""The pilot: a few subjects the whole way to a private repo, by the functions that publish the whole release.

Add here what concerns a part of the release alone. Nothing here writes to the repo or the products of the whole.
"""
