"""Shards: a subject's volumes and clinical values as the published rows, the release's bytes unchanged.

`product` builds them, and `footer` parses their footers for readers. `lib.parquet` writes Parquet.
"""
