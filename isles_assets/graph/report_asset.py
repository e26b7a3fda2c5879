"""The asset `quality_report`: the page that a person reads to decide whether to publish."""

import dagster as dg

from isles_assets.graph import reporting
from isles_assets.graph.assets import clinical_table, subject_manifest
from isles_assets.graph.commands import render
from isles_assets.graph.outcomes import problems_of_failed
from isles_assets.graph.reporting import refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.files import atomic_write, sha256_of
from isles_assets.products.dataset import Dataset
from isles_assets.publication.evidence import Evidence
from isles_assets.report.collecting import collect
from isles_assets.report.rendering import render_page

PRIORITY = -1
"""In a run of the whole graph, the report is made after the products of each subject and before `hub_dataset`."""


def report_asset(of: Dataset) -> dg.AssetsDefinition:
    """Return the asset that reports on all tables and products of the dataset `of`.

    It does not depend on products whose files are published unchanged: if one fails, the report of the same run must
    show that.
    """
    all_partitions = dg.AllPartitionMapping()
    product_deps = [
        dg.AssetDep(product.asset, partition_mapping=all_partitions)
        for product in of.products
        if not product.published_as_built
    ]

    @dg.asset(
        deps=[clinical_table, subject_manifest, *product_deps],
        kinds={"html"},
        code_version="1",
        op_tags={"dagster/priority": str(PRIORITY)},
    )
    def quality_report(
        context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam
    ) -> dg.MaterializeResult:
        """The page that a person reads to decide whether to publish: each subject's pictures, facts and findings.

        It is one HTML file that needs no other file. It is made even if products are missing or checks failed, and
        lists these. Materialize it again to update it.
        """
        with refusals_reported():
            setup = settings.setup(dataset)
            evidence = Evidence(setup.tree, setup.folder)
            problems = {(product.asset, key): problem for product in dataset.products
                        for key, problem in problems_of_failed(context.instance, product.asset).items()}  # fmt: skip
            report = collect(dataset, evidence, setup.repo, failures=problems, render=render, workers=setup.workers)
            with atomic_write(setup.folder.report) as temporary:
                temporary.write_text(render_page(report, workers=setup.workers), encoding="utf-8")
        context.log.info(f"The report: {setup.folder.report}")
        version = dg.DataVersion(sha256_of(setup.folder.report))
        return dg.MaterializeResult(metadata=reporting.of_report(setup.folder, report), data_version=version)

    return quality_report
