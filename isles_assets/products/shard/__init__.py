"""Shards: a subject's volumes and clinical values as the published rows, the release's bytes unchanged.

`product` makes them, `footer` is what their footer says to readers. How Parquet is written is in `lib.parquet`.
"""
