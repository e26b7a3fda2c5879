"""One run over many partitions in which each succeeds or fails for itself.

Dagster records a multi-partition step as a whole: all keys, or none if it raises. Here the keys that succeeded
are recorded one by one when something failed or the run was cut short, and the step then fails naming the rest,
so that exactly those show as failed and a backfill of failed partitions runs only them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from isles_assets.commands import materialize_shard
from isles_assets.findings import Finding, Refusal, name_some
from isles_assets.graph.reporting import of_findings
from isles_assets.workers import WorkerDiedError

_CODE_VERSION = "dagster/code_version"
_DATA_VERSION = "dagster/data_version"


class PartitionOutcomes:
    """The outcomes so far of the partitions of one step."""

    def __init__(self, context: dg.AssetExecutionContext):
        self._context = context
        self._provenance = _provenance(context)
        self.succeeded: dict[str, tuple[Mapping[str, dg.MetadataValue], str]] = {}
        self.failed: dict[str, Exception] = {}

    def succeed(self, key: str, metadata: Mapping[str, dg.MetadataValue], data_version: str) -> None:
        """`key` is materialized, with `metadata` and a data version of its own."""
        self.succeeded[key] = metadata, data_version
        self._context.add_asset_metadata(metadata, partition_key=key)

    def record(self) -> None:
        """Store a materialization of each that succeeded, which Dagster does only if the step succeeds."""
        for key, (metadata, data_version) in self.succeeded.items():
            versions = {_DATA_VERSION: data_version, "dagster/data_version_is_user_provided": "true"}
            materialization = dg.AssetMaterialization(
                self._context.asset_key, partition=key, metadata=metadata, tags=self._provenance | versions
            )
            self._context.log_event(materialization)

    def fail(self, key: str, error: Exception) -> None:
        """`key` is not materialized, because of `error`; the others go on."""
        self.failed[key] = error
        self._context.log.error(f"{key} failed: {_words(error)}", exc_info=None if _expected(error) else error)


@contextmanager
def each_partition_for_itself(context: dg.AssetExecutionContext) -> Iterator[PartitionOutcomes]:
    """Collect outcomes; at the end raise `dagster.Failure` if any partition failed."""
    outcomes = PartitionOutcomes(context)
    finished = False
    try:
        yield outcomes
        finished = True
    finally:
        if outcomes.failed or not finished:
            outcomes.record()
    if outcomes.failed:
        failed = sorted(outcomes.failed)
        raise dg.Failure(
            f"{len(failed)} of {len(context.partition_keys)} subjects failed: {name_some(failed)}. "
            f"The other {len(outcomes.succeeded)} are done. Mend these and materialize the failed partitions.\n"
            + "\n".join(_named(key, _words(outcomes.failed[key])) for key in failed[:10]),
            metadata=of_findings([f for key in failed for f in _findings(key, outcomes.failed[key])]),
            allow_retries=False,
        )


def _provenance(context: dg.AssetExecutionContext) -> dict[str, str]:
    """The tags that Dagster gives its own materializations, by which it knows later whether they are stale.

    https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching; they are not written for `log_event`.
    """
    key = context.asset_key
    tags = {_CODE_VERSION: context.assets_def.code_versions_by_key[key] or context.run_id}
    for parent in context.assets_def.asset_deps[key]:
        name = parent.to_user_string()
        version, event = "INITIAL", "NULL"
        for record in context.instance.fetch_materializations(parent, limit=1).records:
            version, event = (record.event_log_entry.tags or {}).get(_DATA_VERSION, version), str(record.storage_id)
        tags |= {f"dagster/input_data_version/{name}": version, f"dagster/input_event_pointer/{name}": event}
    return tags


def _expected(error: Exception) -> bool:
    return isinstance(error, Refusal | WorkerDiedError)


def _words(error: Exception) -> str:
    return str(error) if _expected(error) else f"{type(error).__name__}: {error}"


def _named(key: str, words: str) -> str:
    return words if key in words else f"{key}: {words}"


def _findings(key: str, error: Exception) -> tuple[Finding, ...]:
    if isinstance(error, Refusal) and error.findings:
        return error.findings
    return (Finding(key, "", _words(error), materialize_shard(key)),)
