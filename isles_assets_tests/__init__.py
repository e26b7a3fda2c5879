"""Tests of isles_assets, against real Dagster instances, real files and the real `datasets` library."""
