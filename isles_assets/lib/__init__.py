"""Tools that would serve any pipeline: files, findings, Parquet, processes, progress. Nothing here knows a release.

Add here what names neither a subject nor a column. Code that reads a release's files goes to `reading`.
"""
