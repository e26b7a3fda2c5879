"""Settings: the environment variables of `.env.example`, as a resource that the Launchpad can override."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from isles_assets.dataset.folder import DataFolder
from isles_assets.findings import Finding, Refusal
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.local import LocalHub
from isles_assets.workers import available_cores

TARGETS = ("local", "huggingface")
_LOG = logging.getLogger(__name__)
VARIABLES = {
    "raw_root": "ISLES_RAW_ROOT",
    "data_dir": "ISLES_DATA_DIR",
    "hub_target": "ISLES_HUB_TARGET",
    "hub_repo": "ISLES_HUB_REPO",
    "workers": "ISLES_WORKERS",
}


class Settings(dg.ConfigurableResource):
    """Where the release lies, where everything is put, and where it is published."""

    raw_root: str = Field("", description="The extracted `train` folder; empty: a synthetic sample is made and used.")
    data_dir: str = Field("data", description="Folder for tables, shards, downloads and the local hub.")
    hub_target: str = Field(TARGETS[0], description=f"Where to publish: {', '.join(TARGETS)}.")
    hub_repo: str = Field("hugging-science/isles24-stroke", description="Dataset repo as <owner>/<name>.")
    workers: int = Field(0, ge=0, description="Processes that build shards in one run; 0: one a core.")

    @property
    def folder(self) -> DataFolder:
        return DataFolder(Path(self.data_dir).expanduser().absolute())

    @property
    def uses_sample(self) -> bool:
        """Whether the synthetic sample stands in for the release."""
        return not self.raw_root

    @property
    def tree(self) -> Path:
        """The release's `train` folder, or the sample's."""
        return self.folder.sample if self.uses_sample else Path(self.raw_root).expanduser().absolute()

    def target(self, *, private: bool = False, say: Callable[[str], None] = _LOG.info) -> LocalHub | HuggingFaceHub:
        """Where `hub_dataset` publishes; a repo that has to be made is `private` or not, `say` is told the progress.

        Raises `Refusal` for a target or repo that cannot be.
        """
        if self.hub_target == "local":
            return LocalHub(self.folder.hub, self.hub_repo)
        if self.hub_target == "huggingface":
            return HuggingFaceHub(self.hub_repo, private=private, say=say)
        finding = Finding("", "ISLES_HUB_TARGET", f"is {self.hub_target!r}", f"set it to {' or '.join(TARGETS)}")
        raise Refusal("There is no such target.", [finding])

    @property
    def processes(self) -> int:
        """Processes that build shards in one run."""
        return self.workers or available_cores()


def settings_from_environment() -> Settings:
    """Settings whose fields point to their variables where these are set, and have their defaults elsewhere."""
    values: dict[str, Any] = {
        field: dg.EnvVar.int(name) if field == "workers" else dg.EnvVar(name)
        for field, name in VARIABLES.items()
        if os.environ.get(name)
    }
    return Settings(**values)
