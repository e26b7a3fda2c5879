"""What would serve any pipeline: files, findings, Parquet, processes, progress. Nothing here knows of a release.

Add here what names neither a subject nor a column. What reads a release's files goes to `reading`.
"""
