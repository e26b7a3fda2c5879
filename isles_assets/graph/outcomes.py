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


class PartitionOutcomes:
    """The outcomes so far of the partitions of one step."""

    def __init__(self, context: dg.AssetExecutionContext):
        self._context = context
        self.succeeded: dict[str, Mapping[str, dg.MetadataValue]] = {}
        self.failed: dict[str, Exception] = {}

    def succeed(self, key: str, metadata: Mapping[str, dg.MetadataValue]) -> None:
        """`key` is materialized, with `metadata` of its own."""
        self.succeeded[key] = metadata
        self._context.add_asset_metadata(metadata, partition_key=key)

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
            for key, metadata in outcomes.succeeded.items():
                context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata))
    if outcomes.failed:
        failed = sorted(outcomes.failed)
        raise dg.Failure(
            f"{len(failed)} of {len(context.partition_keys)} subjects failed: {name_some(failed)}. "
            f"The other {len(outcomes.succeeded)} are done. Mend these and materialize the failed partitions.\n"
            + "\n".join(_words(outcomes.failed[key]) for key in failed[:10]),
            metadata=of_findings([f for key in failed for f in _findings(key, outcomes.failed[key])]),
            allow_retries=False,
        )


def _expected(error: Exception) -> bool:
    return isinstance(error, Refusal | WorkerDiedError)


def _words(error: Exception) -> str:
    return str(error) if _expected(error) else f"{type(error).__name__}: {error}"


def _findings(key: str, error: Exception) -> tuple[Finding, ...]:
    if isinstance(error, Refusal) and error.findings:
        return error.findings
    return (Finding(key, "", _words(error), materialize_shard(key)),)
