"""Where the dataset is published, and whether what is there is what was published. Nothing here imports Dagster."""
