"""The Dagster layer: assets, checks, resources, partitions and jobs. Thin; the work is done elsewhere."""
