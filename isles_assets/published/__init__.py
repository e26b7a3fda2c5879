"""What readers of a published dataset make of it: a table of the clinical variables, layouts for other tools.

It imports neither Dagster nor the rooms that build. Add what somebody does after the download here. Reading published
files goes to `hub`, what is published to `publication`.
"""
