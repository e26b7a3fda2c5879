"""The Dagster code location: assets, checks, jobs, automation and settings of a release put together; no logic."""

import dagster as dg

from isles_assets.graph.assets import archive_listing, clinical_table, raw_tree, subject_manifest, zenodo_archive
from isles_assets.graph.automation import nightly_verify, sensors
from isles_assets.graph.beginning import announced
from isles_assets.graph.checks import checks_of
from isles_assets.graph.console import brief
from isles_assets.graph.hub_asset import hub_asset
from isles_assets.graph.jobs import build_job, rollback, verify
from isles_assets.graph.product_assets import product_asset
from isles_assets.graph.report_asset import report_asset
from isles_assets.graph.reporting import metadata, of_settings
from isles_assets.graph.settings import DefinitionSettings, Settings
from isles_assets.graph.terminal import use_terminal
from isles_assets.lib.secrets import keep_secrets_out_of_logs
from isles_assets.products.dataset import Dataset
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.tables.manifest import manifest_version


def build_defs(release: Release, settings: Settings) -> dg.Definitions:
    """The code location of `release` with `settings`.

    Steps run in the run's own process: they are few, and the work inside one is spread over processes already.
    Raises `UnusableVariable` for an environment variable that Dagster needs now and that cannot be used.
    """
    dataset, defined = Dataset.of(release), DefinitionSettings.from_environment()
    subjects = dg.StaticPartitionsDefinition(release.subjects)
    assets = [
        *(archive_listing, zenodo_archive, raw_tree, clinical_table, subject_manifest),
        *(product_asset(product, subjects, defined.backfill_policy) for product in dataset.products),
        report_asset(dataset),
        hub_asset(dataset),
    ]

    in_force = settings.in_force(dataset)

    def of_release(spec: dg.AssetSpec) -> dg.AssetSpec:
        """What depends on the release beyond the code: group, description, version of the manifest; what holds."""
        version = manifest_version(release) if spec.key == subject_manifest.key else spec.code_version
        description = release.describe(spec.description or "")
        return spec.replace_attributes(
            group_name=release.name,
            description=description,
            code_version=version,
            metadata={**spec.metadata, **of_settings(in_force)},
        )

    return dg.Definitions(
        assets=dg.map_asset_specs(of_release, assets),
        asset_checks=checks_of(release),
        jobs=[build_job(dataset, metadata(in_force)), verify, rollback],
        schedules=[nightly_verify],
        sensors=sensors(notify=bool(defined.webhook_url)),
        resources={"settings": settings.explained(dataset), "dataset": announced(dataset)},
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, "brief": brief},
    )


keep_secrets_out_of_logs()
use_terminal()
defs = build_defs(RELEASE, Settings())
