"""Settings: environment variables, each declared once here, by topic. The Launchpad can override those of a run.

A new setting is a field of `Settings`, or of `DefinitionSettings` if Dagster needs it while definitions are built.
`.env.example` and the tables of the docs follow: `make settings`. What a setting leads to is in `setup`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dagster as dg
import pydantic

from isles_assets.graph.setup import Setup, Source
from isles_assets.hub.targets import HubTarget
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.workers import available_cores
from isles_assets.products.dataset import Dataset
from isles_assets.source.zenodo import ENDPOINT


class Topic(StrEnum):
    """What a setting is about."""

    ORIGIN = "where the release comes from"
    PLACES = "where things lie"
    TARGET = "where they go"
    RUNS = "how runs are made"
    NOTICES = "who is told"


@dataclass(frozen=True)
class Variable:
    """The environment variable of a setting: its `default`, in words if it is none, and an `example`.

    `{repo}` in a default is the release's own.
    """

    name: str
    topic: Topic
    default: str
    meaning: str
    example: str = ""


def _setting(
    name: str, topic: Topic, meaning: str, *, default: str = "unset", example: str = "", **constraints: Any
) -> Any:
    extra: Any = {"name": name, "topic": topic, "default": default, "meaning": meaning, "example": example}
    return pydantic.Field(default=None, description=f"{meaning} [{name}]", json_schema_extra=extra, **constraints)


class Settings(dg.ConfigurableResource):
    """Where the release lies, where everything is put, and where it is published.

    A field that is not given comes from its environment variable, and from the variable's default where that is
    unset. (Were the variables given as `EnvVar`, Dagster would forget all of them once the Launchpad gives one field.)
    """

    raw_root: str | None = _setting(
        "ISLES_RAW_ROOT", Topic.ORIGIN, "the extracted `train` folder of the release, if you have it",
        example="/path/to/train",
    )  # fmt: skip
    source: Source | None = _setting(
        "ISLES_SOURCE", Topic.ORIGIN,
        "where the release comes from while `ISLES_RAW_ROOT` is unset. `sample`: a synthetic one is made. `zenodo`: it "
        "is downloaded and extracted, 99 GB",
        default=Source.sample,
    )  # fmt: skip
    zenodo_endpoint: str | None = _setting(
        "ISLES_ZENODO_ENDPOINT", Topic.ORIGIN, "Zenodo, or a mirror of it", default=ENDPOINT
    )
    data_dir: str | None = _setting(
        "ISLES_DATA_DIR", Topic.PLACES, "where downloads, tables, shards and the local hub go", default="data"
    )
    hub_target: HubTarget | None = _setting(
        "ISLES_HUB_TARGET", Topic.TARGET,
        "`local`: a folder laid out exactly as the Hub repo. `huggingface`: the Hub at `HF_ENDPOINT`",
        default=HubTarget.local,
    )  # fmt: skip
    hub_repo: str | None = _setting("ISLES_HUB_REPO", Topic.TARGET, "dataset repo, owner/name", default="{repo}")
    workers: int | None = _setting(
        "ISLES_WORKERS", Topic.RUNS, "processes that build shards inside one run", default="number of cores", ge=1
    )

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse what cannot be used when a run starts, and not in its middle."""
        self.check()

    def check(self) -> None:
        """Raise `Refusal` naming every setting that cannot be used."""
        findings: list[Finding] = []
        for field, allowed in (("source", list(Source)), ("hub_target", list(HubTarget))):
            unused = field == "source" and self._value("raw_root")
            if (value := self._value(field)) not in allowed and not unused:
                mend = f"set it to {' or '.join(allowed)}"
                findings.append(Finding(f"is {value!r}", mend, path=_variable(field).name))
        workers = self._workers
        if not workers.isdecimal() or int(workers) == 0:
            mend = "set it to a whole number from 1, or unset it"
            findings.append(Finding(f"is {workers!r}", mend, path=_variable("workers").name))
        if findings:
            raise Refusal("The settings cannot be used.", findings)

    def setup(self, dataset: Dataset) -> Setup:
        """What the settings lead to for `dataset`. Raises `Refusal` for what cannot be used."""
        self.check()
        raw_root = self._value("raw_root")
        return Setup(
            dataset=dataset,
            raw_root=raw_root,
            source=Source.sample if raw_root else Source(self._value("source")),
            zenodo_endpoint=self._value("zenodo_endpoint"),
            data_dir=self._value("data_dir"),
            hub_target=HubTarget(self._value("hub_target")),
            repo=self._given("hub_repo") or dataset.release.repo,
            workers=int(self._workers),
        )

    @property
    def _workers(self) -> str:
        return self._given("workers") or str(available_cores())

    def _value(self, field: str) -> str:
        """The field's value or the variable's, or its default; empty if it has none."""
        default = _variable(field).default
        return self._given(field) or ("" if default == "unset" else default)

    def _given(self, field: str) -> str:
        """The field's value or the variable's; empty if neither is given."""
        given = getattr(self, field)
        return os.environ.get(_variable(field).name, "") if given is None else str(given)


class DefinitionSettings(pydantic.BaseModel):
    """What Dagster needs to know while definitions are built: it is read then, and nowhere else."""

    partitions_per_run: int | None = _setting(
        "ISLES_PARTITIONS_PER_RUN", Topic.RUNS,
        "partitions of `subject_shard` in one run of a backfill, for several machines (docs/cluster.md); unset: all of "
        "them",
        ge=1,
    )  # fmt: skip
    webhook_url: str | None = _setting(
        "ISLES_WEBHOOK_URL", Topic.NOTICES,
        "an incoming webhook (Slack, Mattermost) to which the daemon posts runs and checks that failed; never logged "
        "or stored",
    )  # fmt: skip

    @classmethod
    def from_environment(cls) -> "DefinitionSettings":
        """Raises `ValueError` naming a variable that cannot be used."""
        values = {name: os.environ.get(_of(field).name) or None for name, field in cls.model_fields.items()}
        number = values["partitions_per_run"]
        if number and (not number.isdecimal() or int(number) == 0):
            name = _of(cls.model_fields["partitions_per_run"]).name
            raise ValueError(f"{name} is {number!r}; set it to a whole number from 1, or unset it")
        return cls.model_validate(values)

    @property
    def notifies(self) -> bool:
        """Whether notifications are wanted."""
        return bool(self.webhook_url)

    @property
    def backfill_policy(self) -> dg.BackfillPolicy:
        """All partitions of a backfill in one run, or some of them in each of several."""
        if self.partitions_per_run is None:
            return dg.BackfillPolicy.single_run()
        return dg.BackfillPolicy.multi_run(self.partitions_per_run)


def variables() -> Iterator[Variable]:
    """All variables, in the order of their topics."""
    fields: Mapping[str, Any] = {**Settings.model_fields, **DefinitionSettings.model_fields}
    found = [_of(field) for field in fields.values() if field.json_schema_extra]
    return iter(sorted(found, key=lambda variable: list(Topic).index(variable.topic)))


def _variable(field: str) -> Variable:
    return _of(Settings.model_fields[field])


def _of(field: Any) -> Variable:
    return Variable(**field.json_schema_extra)
