"""The Dagster code location: it puts together assets, checks, jobs, automation and settings of a release."""

import dagster as dg

from isles_assets.graph.assets import archive_listing, clinical_table, raw_tree, subject_manifest, zenodo_archive
from isles_assets.graph.automation import nightly_verify, sensors
from isles_assets.graph.checks import checks_of
from isles_assets.graph.console import brief
from isles_assets.graph.examining import doctor
from isles_assets.graph.hub_asset import hub_asset
from isles_assets.graph.jobs import build_job, rollback, verify
from isles_assets.graph.pilot import pilot
from isles_assets.graph.product_assets import product_asset
from isles_assets.graph.report_asset import report_asset
from isles_assets.graph.reporting import metadata, of_settings
from isles_assets.graph.run_start import dataset_resource
from isles_assets.graph.settings import DefinitionSettings, Settings
from isles_assets.graph.terminal import use_terminal
from isles_assets.lib.secrets import keep_secrets_out_of_logs
from isles_assets.products.dataset import Dataset
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.tables.manifest import manifest_version


def build_defs(release: Release, settings: Settings) -> dg.Definitions:
    """Return the code location of `release` with `settings`.

    Steps run in the run's own process: they are few, and each spreads its work over processes.

    Raises:
        UnusableVariable: The value of an environment variable that definitions depend on is invalid.
    """
    dataset, definition_settings = Dataset.of(release), DefinitionSettings.from_environment()
    subjects = dg.StaticPartitionsDefinition(release.subjects)
    assets = [
        *(archive_listing, zenodo_archive, raw_tree, clinical_table, subject_manifest),
        *(product_asset(product, subjects, definition_settings.backfill_policy) for product in dataset.products),
        report_asset(dataset),
        hub_asset(dataset),
    ]

    effective = settings.effective(dataset)

    def add_release(spec: dg.AssetSpec) -> dg.AssetSpec:
        """Return `spec` with group, description, code version and metadata for this release and its settings."""
        version = manifest_version(release) if spec.key == subject_manifest.key else spec.code_version
        description = release.describe(spec.description or "")
        return spec.replace_attributes(
            group_name=release.name,
            description=description,
            code_version=version,
            metadata={**spec.metadata, **of_settings(effective)},
        )

    return dg.Definitions(
        assets=dg.map_asset_specs(add_release, assets),
        asset_checks=checks_of(release),
        jobs=[build_job(dataset, metadata(effective)), verify, rollback, doctor, pilot],
        schedules=[nightly_verify],
        sensors=sensors(notify=bool(definition_settings.webhook_url)),
        resources={"settings": settings.documented(dataset), "dataset": dataset_resource(dataset)},
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, "brief": brief},
    )


keep_secrets_out_of_logs()
use_terminal()
defs = build_defs(RELEASE, Settings())
