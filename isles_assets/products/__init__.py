"""What is published: tables, the manifest, the shards and the card. Nothing here imports Dagster."""
