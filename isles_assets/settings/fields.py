"""The settings: environment variables, each declared once here. The Launchpad can override those of a run.

Add a setting as a field of `SettingFields`, or of `DefinitionFields` if Dagster needs it while definitions are built.
Then run `make reference`, which updates `.env.example` and the tables in the docs. `setup` has what follows from a
setting.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pydantic

from isles_assets.hub.targets import HubTarget
from isles_assets.lib.display import DisplayValues
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.workers import available_cores
from isles_assets.products.dataset import Dataset
from isles_assets.settings.setup import ListingQuestion, Setup, Source
from isles_assets.source.listing import MOST_READ
from isles_assets.source.zenodo import ENDPOINT
from isles_assets.tables.folder import DataFolder

WHOLE_NUMBER = "set it to a whole number from 1, or unset it"


class Topic(StrEnum):
    """The topic of a setting."""

    ORIGIN = "where the release comes from"
    PLACES = "where data is stored"
    TARGET = "where the dataset is published"
    RUNS = "how runs work"
    NOTICES = "who is notified"


@dataclass(frozen=True)
class Variable:
    """The environment variable of a setting."""

    name: str
    topic: Topic
    default: str
    """The default value, or a description of it. `{repo}` stands for the release's own repo."""
    meaning: str
    example: str = ""


def _setting(
    name: str, topic: Topic, meaning: str, *, default: str = "unset", example: str = "", **constraints: Any
) -> Any:
    extra: Any = {"name": name, "topic": topic, "default": default, "meaning": meaning, "example": example}
    return pydantic.Field(default=None, description=f"{meaning} [{name}]", json_schema_extra=extra, **constraints)


class SettingFields(pydantic.BaseModel):
    """Where the release comes from, where everything is stored, and where it is published.

    A field that is None has the value of its environment variable, or if that is unset, the variable's default.
    """

    raw_root: str | None = _setting(
        "ISLES_RAW_ROOT", Topic.ORIGIN, "the extracted `train` folder of the release, if you have it",
        example="/path/to/train",
    )  # fmt: skip
    source: Source | None = _setting(
        "ISLES_SOURCE", Topic.ORIGIN,
        "where the release comes from if `ISLES_RAW_ROOT` is unset. `sample`: a synthetic sample is made. `zenodo`: "
        "the release, 99 GB, is downloaded and extracted",
        default=Source.sample,
    )  # fmt: skip
    zenodo_endpoint: str | None = _setting(
        "ISLES_ZENODO_ENDPOINT", Topic.ORIGIN, "Zenodo, or a mirror of it", default=ENDPOINT
    )
    listing: ListingQuestion | None = _setting(
        "ISLES_LISTING", Topic.ORIGIN,
        f"`on` or `off`: whether the archive's listing, at most {readable_bytes(MOST_READ)}, may be read from Zenodo, "
        "to compare the tree with it. It is not read for a synthetic tree",
        default=ListingQuestion.on,
    )  # fmt: skip
    data_dir: str | None = _setting(
        "ISLES_DATA_DIR", Topic.PLACES, "the folder for downloads, tables, shards and the local hub", default="data"
    )
    waivers: str | None = _setting(
        "ISLES_WAIVERS", Topic.PLACES, "the file of waivers: the findings that you accept, with reasons",
        default="`waivers.yaml` in `ISLES_DATA_DIR`", example="/path/to/waivers.yaml",
    )  # fmt: skip
    hub_target: HubTarget | None = _setting(
        "ISLES_HUB_TARGET", Topic.TARGET,
        "`local`: a folder with the same files as the Hub repo. `huggingface`: the Hub at `HF_ENDPOINT`",
        default=HubTarget.local,
    )  # fmt: skip
    hub_repo: str | None = _setting("ISLES_HUB_REPO", Topic.TARGET, "the dataset repo, owner/name", default="{repo}")
    workers: int | None = _setting(
        "ISLES_WORKERS", Topic.RUNS, "processes that build shards inside one run", default="number of cores", ge=1
    )

    def unusable(self) -> list[Finding]:
        """Return a finding for each setting that cannot be used."""
        mends = {}
        if self._value("source") not in list(Source) and not self._value("raw_root", ""):
            mends["source"] = f"set it to {' or '.join(Source)}"
        if self._value("hub_target") not in list(HubTarget):
            mends["hub_target"] = f"set it to {' or '.join(HubTarget)}"
        if self._value("listing") not in list(ListingQuestion):
            mends["listing"] = f"set it to {' or '.join(ListingQuestion)}"
        if not is_whole_number(self._value("workers", "1")):
            mends["workers"] = WHOLE_NUMBER
        by_field = variables_by_field()
        return [Finding(f"is {self._value(name)!r}", mend, by_field[name].name) for name, mend in mends.items()]

    def setup(self, dataset: Dataset) -> Setup:
        """Return the places and options of a run that follow from the settings. Each step calls this.

        (If a resource raised it when it is initialized, jobs would end in a trace: Dagster does so again after a run.)

        Raises:
            Refusal: A setting cannot be used.
        """
        if unusable := self.unusable():
            raise Refusal("The settings cannot be used.", unusable)
        waivers = self._value("waivers", "")
        folder = DataFolder(
            _absolute(self._value("data_dir")), dataset.release, _absolute(waivers) if waivers else None
        )
        raw_root, source = self._value("raw_root", ""), self._value("source")
        return Setup(
            dataset=dataset,
            folder=folder,
            tree=_absolute(raw_root) if raw_root else folder.sample if source == Source.sample else folder.tree,
            origin="ISLES_RAW_ROOT" if raw_root else source,
            zenodo_endpoint=self._value("zenodo_endpoint"),
            listing=ListingQuestion(self._value("listing")),
            hub_target=HubTarget(self._value("hub_target")),
            repo=self._value("hub_repo", dataset.release.repo),
            workers=int(self._value("workers", str(available_cores()))),
        )

    def effective(self, dataset: Dataset) -> DisplayValues:
        """Return the settings that apply unless the Launchpad overrides them, or the reason why a run would fail."""
        try:
            return self.setup(dataset).effective
        except Refusal as refusal:
            return {"settings": refusal.text()}

    def _value(self, field: str, default: str | None = None) -> str:
        """Return the value of a field, else of its variable, else `default`, else the variable's default."""
        field_value, variable = getattr(self, field), variables_by_field()[field]
        value = os.environ.get(variable.name, "") if field_value is None else str(field_value)
        return value or (variable.default if default is None else default)


class DefinitionFields(pydantic.BaseModel):
    """The settings that Dagster needs while definitions are built."""

    partitions_per_run: int | None = _setting(
        "ISLES_PARTITIONS_PER_RUN", Topic.RUNS,
        "number of partitions of `subject_shard` in one run of a backfill, for several machines (docs/cluster.md). "
        "Unset: all",
        ge=1,
    )  # fmt: skip
    webhook_url: str | None = _setting(
        "ISLES_WEBHOOK_URL", Topic.NOTICES,
        "an incoming webhook (Slack, Mattermost) to which the daemon posts failed runs and checks. It is never logged "
        "or stored",
    )  # fmt: skip


def variables() -> Sequence[Variable]:
    """Return all variables, in the order of their topics."""
    return sorted(variables_by_field().values(), key=lambda variable: list(Topic).index(variable.topic))


def variables_by_field() -> Mapping[str, Variable]:
    """Return the variable of each field that has one, by the field's name."""
    fields: Mapping[str, Any] = {**SettingFields.model_fields, **DefinitionFields.model_fields}
    return {name: Variable(**field.json_schema_extra) for name, field in fields.items() if field.json_schema_extra}


def is_whole_number(text: str) -> bool:
    """Return whether `text` is a whole number from 1."""
    return text.isdecimal() and int(text) > 0


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
