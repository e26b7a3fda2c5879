"""The asset `quality_report`: the page on which a person decides whether to publish."""

import dagster as dg

from isles_assets.graph import reporting
from isles_assets.graph.assets import clinical_table, subject_manifest
from isles_assets.graph.commands import render
from isles_assets.graph.outcomes import what_stopped
from isles_assets.graph.reporting import refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.files import atomic_write, sha256_of
from isles_assets.products.dataset import Dataset
from isles_assets.publication.evidence import Evidence
from isles_assets.report.collecting import collect
from isles_assets.report.rendering import render_page

PRIORITY = -1
"""In a run that makes all: after the products that are made of each subject, and before they are published."""


def report_asset(of: Dataset) -> dg.AssetsDefinition:
    """The asset that reports on all that is there of the dataset `of`.

    It depends on the products that are only looked at, and not on those that are published apart: one of these that
    failed is to be seen in the report of the same run.
    """
    looked_at = [product.asset for product in of.products if not product.published_as_built]
    everything = [dg.AssetDep(asset, partition_mapping=dg.AllPartitionMapping()) for asset in looked_at]

    @dg.asset(
        deps=[clinical_table, subject_manifest, *everything],
        kinds={"html"},
        code_version="1",
        op_tags={"dagster/priority": str(PRIORITY)},
    )
    def quality_report(
        context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam
    ) -> dg.MaterializeResult:
        """The page on which a person decides whether to publish: every subject's pictures, facts and findings.

        One HTML file that needs nothing else. It is made whatever is missing or red, and says so; materialize it again
        to see what has changed since.
        """
        with refusals_reported():
            setup = settings.setup(dataset)
            evidence = Evidence(setup.tree, setup.folder)
            stopped = {(product.asset, key): why for product in dataset.products
                       for key, why in what_stopped(context.instance, product.asset).items()}  # fmt: skip
            report = collect(dataset, evidence, setup.repo, stopped=stopped, render=render, workers=setup.workers)
            with atomic_write(setup.folder.report) as temporary:
                temporary.write_text(render_page(report, workers=setup.workers), encoding="utf-8")
        context.log.info(f"The report: {setup.folder.report}")
        version = dg.DataVersion(sha256_of(setup.folder.report))
        return dg.MaterializeResult(metadata=reporting.of_report(setup.folder, report), data_version=version)

    return quality_report
