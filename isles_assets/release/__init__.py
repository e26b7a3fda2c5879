"""What the ISLES'24 release is: its ids, layout, volumes, clinical variables, and how to read them.

Every fact of the release stands in one table of this package and everything else is derived from it.
Nothing here imports Dagster or knows of the Hub.
"""
