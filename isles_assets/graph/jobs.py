"""Jobs: everything in one run."""

import dagster as dg

from isles_assets.release.subjects import SUBJECT_IDS

build = dg.define_asset_job(
    "build",
    selection=dg.AssetSelection.all(),
    description="The whole graph over all 149 subjects, in one run.",
    tags={
        "dagster/asset_partition_range_start": SUBJECT_IDS[0],
        "dagster/asset_partition_range_end": SUBJECT_IDS[-1],
    },
)
