"""Commands of the project, as users give them, on a tree: a new interpreter, a real instance, a run in its storage."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Sample, command
from isles_assets.lib.workers import available_cores

REPOSITORY = Path(__file__).parents[1]
_INSTANCE = "telemetry: {enabled: false}\npython_logs: {python_log_level: INFO}\n"


def write_instance(home: Path) -> None:
    """Make a DAGSTER_HOME, unless it is there."""
    if not home.exists():
        home.mkdir()
        (home / "dagster.yaml").write_text(_INSTANCE)


@dataclass(frozen=True)
class Project:
    """A project with its data folder and DAGSTER_HOME in `root`."""

    root: Path
    tree: Path
    workers: int = available_cores()

    @property
    def data(self) -> Path:
        return self.root / "data"

    def build(self) -> Sample:
        """Everything, in one run."""
        return self.dagster("job", "execute", "-m", "isles_assets", "-j", "build")

    def materialize(self, assets: str, *options: str) -> Sample:
        """Some assets, in one run."""
        return self.dagster("asset", "materialize", "-m", "isles_assets", "--select", assets, *options)

    def dagster(self, *arguments: str) -> Sample:
        """Measure a `dagster` command from the start of its interpreter to its end."""
        home = self.root / "home"
        write_instance(home)
        environment = os.environ | {
            "DAGSTER_HOME": str(home),
            "ISLES_RAW_ROOT": str(self.tree),
            "ISLES_DATA_DIR": str(self.data),
            "ISLES_WORKERS": str(self.workers),
            "PYTHONPATH": str(REPOSITORY),
        }
        return command(sys.executable, "-m", "dagster", *arguments, folder=self.root, environment=environment)
