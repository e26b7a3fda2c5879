"""The settings of a run: where each value comes from, and the places and options that follow from them.

Add a setting in `fields`, and its effect in `setup`. Dagster's side of the settings, the Launchpad, is in `graph`.
"""
