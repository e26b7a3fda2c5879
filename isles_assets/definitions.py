"""The Dagster code location: assets, checks, jobs, automation and settings put together; no logic."""

import dagster as dg

from isles_assets.graph import assets
from isles_assets.graph.automation import SCHEDULES, SENSORS
from isles_assets.graph.checks import CHECKS
from isles_assets.graph.jobs import build, rollback, verify
from isles_assets.graph.resources import Settings


def build_defs(settings: Settings) -> dg.Definitions:
    """The code location with `settings`.

    Steps run in the run's own process: they are few, and the work inside one is spread over processes already.
    """
    return dg.Definitions(
        assets=dg.load_assets_from_modules([assets]),
        asset_checks=CHECKS,
        jobs=[build, verify, rollback],
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={"settings": settings},
        executor=dg.in_process_executor,
    )


defs = build_defs(Settings())
