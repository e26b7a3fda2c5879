"""Settings: environment variables, each declared once here, by topic. The Launchpad can override those of a run.

A new setting is a field of `Settings`, or of `DefinitionSettings` if Dagster needs it while definitions are built.
`.env.example` and the tables of the docs follow: `make reference`. What a setting leads to is in `setup`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pydantic

from isles_assets.graph.setup import ListingQuestion, Setup, Source
from isles_assets.hub.targets import HubTarget
from isles_assets.lib.display import DisplayValues
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.markdown import escaped, markdown_table
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.workers import available_cores
from isles_assets.products.dataset import Dataset
from isles_assets.source.listing import MOST_READ
from isles_assets.source.zenodo import ENDPOINT
from isles_assets.tables.folder import DataFolder

DatasetParam = dg.ResourceParam[Dataset]
"""The dataset whose graph it is, a resource beside the settings."""

_WHOLE_NUMBER = "set it to a whole number from 1, or unset it"


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
    listing: ListingQuestion | None = _setting(
        "ISLES_LISTING", Topic.ORIGIN,
        f"whether Zenodo may be asked what is in the archive, at most {readable_bytes(MOST_READ)}, to compare the tree "
        "with that: `on` or `off`. Of a synthetic tree it is never asked",
        default=ListingQuestion.on,
    )  # fmt: skip
    data_dir: str | None = _setting(
        "ISLES_DATA_DIR", Topic.PLACES, "where downloads, tables, shards and the local hub go", default="data"
    )
    waivers: str | None = _setting(
        "ISLES_WAIVERS", Topic.PLACES, "the file of waivers: what is published although it is odd, and why",
        default="`waivers.yaml` in `ISLES_DATA_DIR`", example="/path/to/waivers.yaml",
    )  # fmt: skip
    hub_target: HubTarget | None = _setting(
        "ISLES_HUB_TARGET", Topic.TARGET,
        "`local`: a folder laid out exactly as the Hub repo. `huggingface`: the Hub at `HF_ENDPOINT`",
        default=HubTarget.local,
    )  # fmt: skip
    hub_repo: str | None = _setting("ISLES_HUB_REPO", Topic.TARGET, "dataset repo, owner/name", default="{repo}")
    workers: int | None = _setting(
        "ISLES_WORKERS", Topic.RUNS, "processes that build shards inside one run", default="number of cores", ge=1
    )

    def _refuse_unusable(self) -> None:
        """Raise `Refusal` naming every setting that cannot be used.

        Each step begins with it. (Were it said as the resource is made, `dagster job execute` would make it again when
        the run is over, and end in a trace.)
        """
        mends = {}
        if self._value("source") not in list(Source) and not self._value("raw_root", ""):
            mends["source"] = f"set it to {' or '.join(Source)}"
        if self._value("hub_target") not in list(HubTarget):
            mends["hub_target"] = f"set it to {' or '.join(HubTarget)}"
        if self._value("listing") not in list(ListingQuestion):
            mends["listing"] = f"set it to {' or '.join(ListingQuestion)}"
        if not _is_whole_number(self._value("workers", "1")):
            mends["workers"] = _WHOLE_NUMBER
        if mends:
            named = _variables()
            findings = [Finding(f"is {self._value(name)!r}", mend, named[name].name) for name, mend in mends.items()]
            raise Refusal("The settings cannot be used.", findings)

    def setup(self, dataset: Dataset) -> Setup:
        """What the settings lead to for `dataset`. Raises `Refusal` for what cannot be used."""
        self._refuse_unusable()
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

    def in_force(self, dataset: Dataset) -> DisplayValues:
        """What holds where the Launchpad gives nothing else, for people; or why no run could start."""
        try:
            return self.setup(dataset).in_force
        except Refusal as refusal:
            return {"settings": refusal.text()}

    def explained(self, dataset: Dataset) -> "Settings":
        """The same settings, whose page in the UI says what they are by now: Dagster shows but the fields, as given."""
        named = {name: named for name, named in _variables().items() if name in type(self).model_fields}
        rows = [(escaped(name), escaped(str(value))) for name, value in self.in_force(dataset).items()]
        fields = [
            (name, f"`{variable.name}`", variable.default.format(repo=dataset.release.repo))
            for name, variable in named.items()
        ]
        words = f"""{(Settings.__doc__ or "").strip().splitlines()[0]}

In force, as the environment and `.env` were when this code location was loaded:

{markdown_table(("what", "is"), rows)}

`null` means that nothing is given here. The value is then that of the variable, and where that is unset its default:

{markdown_table(("field", "variable", "default"), fields)}
"""
        described = type(Settings.__name__, (type(self),), {"__doc__": words, "__module__": __name__})
        explained: Settings = described(**{name: getattr(self, name) for name in named})
        return explained

    def _value(self, field: str, default: str | None = None) -> str:
        """The field's value or the variable's, or `default`, which is that of the variable unless it is in words."""
        given, variable = getattr(self, field), _variables()[field]
        value = os.environ.get(variable.name, "") if given is None else str(given)
        return value or (variable.default if default is None else default)


class UnusableVariable(click.ClickException, ValueError):  # noqa: N818 - it is no accident but an answer
    """A variable that definitions are built with cannot be used. Dagster's commands say that in these words alone."""


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
        """Raises `UnusableVariable` naming a variable that cannot be used."""
        names = {field: _variables()[field].name for field in cls.model_fields}
        values = {field: os.environ.get(name) or None for field, name in names.items()}
        number = values["partitions_per_run"]
        if number and not _is_whole_number(number):
            raise UnusableVariable(f"{names['partitions_per_run']} is {number!r}; {_WHOLE_NUMBER}")
        return cls.model_validate(values)

    @property
    def backfill_policy(self) -> dg.BackfillPolicy:
        """All partitions of a backfill in one run, or some of them in each of several."""
        number = self.partitions_per_run
        return dg.BackfillPolicy.multi_run(number) if number else dg.BackfillPolicy.single_run()


def variables() -> Sequence[Variable]:
    """All variables, in the order of their topics."""
    return sorted(_variables().values(), key=lambda variable: list(Topic).index(variable.topic))


def _variables() -> Mapping[str, Variable]:
    """By the names of their fields."""
    fields: Mapping[str, Any] = {**Settings.model_fields, **DefinitionSettings.model_fields}
    return {name: Variable(**field.json_schema_extra) for name, field in fields.items() if field.json_schema_extra}


def _is_whole_number(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
