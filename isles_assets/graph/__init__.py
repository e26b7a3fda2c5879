"""The Dagster layer: assets, checks, settings, jobs, automation, launching. Thin; the work is done in the other rooms.

Nothing else imports Dagster or names its commands. An asset of the whole release goes to `assets`, a check of a
property follows from `publication.properties`, an asset of each subject from `products.registry`.
"""
