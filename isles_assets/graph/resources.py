"""Settings: the environment variables of `.env.example`, each of which the Launchpad can override."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dagster as dg
from pydantic import Field

from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.local import LocalHub
from isles_assets.hub.staging import stage_and_free
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.workers import available_cores
from isles_assets.products.building import Stage
from isles_assets.release.record import RELEASE, Record
from isles_assets.source.arrival import Places
from isles_assets.source.zenodo import ENDPOINT, Zenodo
from isles_assets.tables.folder import DataFolder

TARGETS = ("local", "huggingface")
SOURCES = ("sample", "zenodo")
DEFAULTS = {
    "ISLES_RAW_ROOT": "",
    "ISLES_SOURCE": SOURCES[0],
    "ISLES_ZENODO_ENDPOINT": ENDPOINT,
    "ISLES_DATA_DIR": "data",
    "ISLES_HUB_TARGET": TARGETS[0],
    "ISLES_HUB_REPO": "hugging-science/isles24-stroke",
    "ISLES_WORKERS": str(available_cores()),
}
_LOG = logging.getLogger(__name__)


class Settings(dg.ConfigurableResource):
    """Where the release lies, where everything is put, and where it is published.

    A field that is not given comes from its environment variable, and from the variable's default where that is
    unset. (Were the variables given as `EnvVar`, Dagster would forget all of them once the Launchpad gives one field.)
    """

    raw_root: str | None = Field(
        default=None, description="The extracted `train` folder; empty: see source. [ISLES_RAW_ROOT]"
    )
    source: str | None = Field(
        default=None,
        description="Where the release comes from without raw_root: `sample`, a synthetic one, or `zenodo`, which is "
        "downloaded and extracted. [ISLES_SOURCE]",
    )
    zenodo_endpoint: str | None = Field(default=None, description="Zenodo, or a mirror of it. [ISLES_ZENODO_ENDPOINT]")
    data_dir: str | None = Field(
        default=None, description="Folder for tables, shards, downloads and the local hub. [ISLES_DATA_DIR]"
    )
    hub_target: str | None = Field(
        default=None, description=f"Where to publish: {', '.join(TARGETS)}. [ISLES_HUB_TARGET]"
    )
    hub_repo: str | None = Field(default=None, description="Dataset repo as <owner>/<name>. [ISLES_HUB_REPO]")
    workers: int | None = Field(
        default=None, ge=1, description="Processes that build shards in one run. [ISLES_WORKERS]"
    )

    @property
    def folder(self) -> DataFolder:
        return DataFolder(_absolute(_given(self.data_dir, "ISLES_DATA_DIR")))

    @property
    def release(self) -> Record:
        """The version of the release that is pinned."""
        return RELEASE

    @property
    def origin(self) -> str:
        """Where the tree comes from: `ISLES_RAW_ROOT`, or one of `SOURCES`. Raises `Refusal` for another source."""
        if _given(self.raw_root, "ISLES_RAW_ROOT"):
            return "ISLES_RAW_ROOT"
        source = _given(self.source, "ISLES_SOURCE")
        if source not in SOURCES:
            finding = Finding("", "ISLES_SOURCE", f"is {source!r}", f"set it to {' or '.join(SOURCES)}")
            raise Refusal("There is no such source.", [finding])
        return source

    @property
    def uses_sample(self) -> bool:
        """Whether the synthetic sample stands in for the release."""
        return self.origin == "sample"

    @property
    def uses_zenodo(self) -> bool:
        """Whether the release is downloaded and extracted."""
        return self.origin == "zenodo"

    @property
    def tree(self) -> Path:
        """The release's `train` folder, or the sample's."""
        trees = {"sample": self.folder.sample, "zenodo": self.folder.release}
        return trees.get(self.origin) or _absolute(_given(self.raw_root, "ISLES_RAW_ROOT"))

    @property
    def places(self) -> Places:
        """Where the release is downloaded and extracted to."""
        return Places(self.folder.archive, self.folder.release, self.folder.shards)

    def zenodo(self, say: Callable[[str], None] = _LOG.info) -> Zenodo:
        """Where the release is downloaded from. Raises `Refusal` for an endpoint that is no address."""
        return Zenodo(_given(self.zenodo_endpoint, "ISLES_ZENODO_ENDPOINT"), say=say)

    @property
    def repo(self) -> str:
        """The dataset repo."""
        return _given(self.hub_repo, "ISLES_HUB_REPO")

    @property
    def publishes_to_hub(self) -> bool:
        """Whether what is published can be seen by others."""
        return _given(self.hub_target, "ISLES_HUB_TARGET") == "huggingface"

    def target(self, *, private: bool = False, say: Callable[[str], None] = _LOG.info) -> LocalHub | HuggingFaceHub:
        """Where `hub_dataset` publishes; a repo that has to be made is `private` or not, `say` is told the progress.

        Raises `Refusal` for a target or repo that cannot be.
        """
        name = _given(self.hub_target, "ISLES_HUB_TARGET")
        if name == "local":
            return LocalHub(self.folder.hub, self.repo)
        if name == "huggingface":
            return HuggingFaceHub(self.repo, private=private, say=say)
        finding = Finding("", "ISLES_HUB_TARGET", f"is {name!r}", f"set it to {' or '.join(TARGETS)}")
        raise Refusal("There is no such target.", [finding])

    def stage(self, *, private: bool, say: Callable[[str], None]) -> Stage:
        """What hands finished shards to the Hub and frees their disk. Raises `Refusal` where the target is no Hub."""
        target = self.target(private=private, say=say)
        if not isinstance(target, HuggingFaceHub):
            finding = Finding("", "free_disk", "needs a Hub to put the shards on", "set ISLES_HUB_TARGET=huggingface")
            raise Refusal("No shard was made.", [finding])
        target.prepare_staging()
        return partial(stage_and_free, target, self.folder)

    @property
    def processes(self) -> int:
        """Processes that build shards in one run. Raises `Refusal` if that is no number from 1."""
        number = str(self.workers or _given(None, "ISLES_WORKERS"))
        if not number.isdecimal() or int(number) == 0:
            finding = Finding("", "ISLES_WORKERS", f"is {number!r}", "set it to a whole number from 1, or unset it")
            raise Refusal("The settings cannot be used.", [finding])
        return int(number)


def _given(value: str | None, variable: str) -> str:
    return os.environ.get(variable) or DEFAULTS[variable] if value is None else value


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
