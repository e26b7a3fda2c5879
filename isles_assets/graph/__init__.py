"""The Dagster layer: assets, checks, settings, jobs, automation, launching. The other rooms do the work.

No other room imports Dagster or names its commands. Add an asset of the whole release to `assets`, a property that a
check enforces to `publication.properties`, and a product, made of each subject, to `products.registry`.
"""
