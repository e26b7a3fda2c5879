"""The assets of each subject: one asset per product of `products`, one partition per subject."""

import inspect
import warnings
from functools import partial

import dagster as dg
from pydantic import Field

from isles_assets.graph.assets import subject_manifest
from isles_assets.graph.outcomes import materialize_each
from isles_assets.graph.reporting import of_fact_meanings, refusals_reported
from isles_assets.graph.settings import DatasetParam, Settings
from isles_assets.lib.findings import Materialize, Refusal
from isles_assets.products.building import STAGE_SIZE, build_subjects, up_to_date
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import Build, Product
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.guard import keep_sample_from_hub
from isles_assets.publication.judging import SubjectJudge
from isles_assets.publication.waivers import how_to_waive
from isles_assets.tables.manifest import read_manifest


class BuildConfig(dg.Config):
    """How to build a product whose files are published unchanged."""

    decode: bool = Field(
        default=True,
        description="Decode and check every volume while it is packed: gzip CRC and length, header, grid, voxels. "
        "`False` makes shards faster, without these checks; the check `volumes_decoded` then says so.",
    )
    free_disk: bool = Field(
        default=False,
        description=f"For a disk that cannot hold all shards: after every {STAGE_SIZE} subjects, upload their shards "
        "to the Hub, outside `main`, and delete them here. Needs hub_target huggingface.",
    )
    private: bool = Field(
        default=False, description="With free_disk: make a new repo private, and refuse a public one."
    )
    take_over: str = Field(default="", description="With free_disk: the same as take_over of hub_dataset.")
    allow_synthetic: bool = Field(default=False, description="With free_disk: allow a synthetic sample on the Hub.")


_ALL_AT_ONCE = """To make everything, run job `build`: it takes one run and is quicker than **Materialize all**. This
page is for some subjects, such as those that failed."""


def product_asset(
    product: Product, partitions: dg.PartitionsDefinition, backfill_policy: dg.BackfillPolicy
) -> dg.AssetsDefinition:
    """Return the asset of `product`, with one partition per subject."""
    with warnings.catch_warnings(action="ignore", category=dg.BetaWarning):  # for backfill_policy
        asset = dg.asset(
            name=product.asset,
            deps=[subject_manifest],
            partitions_def=partitions,
            backfill_policy=backfill_policy,
            kinds=set(product.kinds),
            code_version=product.version,
            metadata=of_fact_meanings(product.fact_descriptions),
            description=f"{inspect.cleandoc(product.description)}\n\n{_ALL_AT_ONCE}",
        )
        if product.published_as_built:

            @asset
            def with_config(
                context: dg.AssetExecutionContext, config: BuildConfig, settings: Settings, dataset: DatasetParam
            ) -> None:
                _build(context, product, config, settings, dataset)

            return with_config

        @asset
        def without_config(context: dg.AssetExecutionContext, settings: Settings, dataset: DatasetParam) -> None:
            _build(context, product, BuildConfig(), settings, dataset)

        return without_config


def _build(
    context: dg.AssetExecutionContext, product: Product, config: BuildConfig, settings: Settings, dataset: Dataset
) -> None:
    with refusals_reported():
        if not (context.has_partition_key or context.has_partition_key_range):
            mend = Materialize((product.asset,), dataset.release.subjects[0])
            raise Refusal.of("Nothing was made.", "no subject was chosen", mend, path=product.asset)
        setup = settings.setup(dataset)
        manifest = read_manifest(setup.folder)
        rows = [manifest[key] for key in context.partition_keys if key in manifest]
        judge = SubjectJudge(Evidence(setup.tree, setup.folder))
        waiving = partial(how_to_waive, dataset.release, path=setup.folder.waivers)
        stage = None
        if config.free_disk:
            keep_sample_from_hub(setup.repo, rows, allowed=config.allow_synthetic)
            if findings := judge.of_no_subject:
                raise Refusal("Nothing was staged.", findings, waiving(findings))
            stage = setup.stage(
                product,
                judge.stopping_at_hub,
                private=config.private,
                take_over=config.take_over,
                log=context.log.info,
            )
    schemas = {config.name: annotated_schema(config) for config in product.configs}
    build = Build(setup.tree, setup.folder, schemas, decode=config.decode or not product.may_skip_decoding)
    materialize_each(
        context,
        rows,
        build=partial(build_subjects, product, build, workers=setup.workers, log=context.log.info, stage=stage),
        find_finished=partial(up_to_date, product, setup.folder, tree=setup.tree, decode=build.decode),
        describe=partial(product.describe, setup.folder),
        damaged=judge.damaged_workbooks,
        stopping=judge.stopping if product.published_as_built else lambda sidecar: [],
        how_to_waive=waiving,
    )
