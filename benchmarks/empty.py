"""The least that Dagster can run: a job of one asset that does nothing."""

import dagster as dg


@dg.asset
def nothing() -> None:
    """Nothing."""


defs = dg.Definitions(
    assets=[nothing],
    jobs=[dg.define_asset_job("empty", selection=[nothing])],
    executor=dg.in_process_executor,
)
