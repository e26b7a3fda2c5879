"""`make demo`: the job `build` on the synthetic sample, said so at once, and at its end where to look next.

The run is that of `dagster job execute -j build -c demo.yaml`, which puts it on the sample and the local target,
whatever the environment and .env say.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from isles_assets.graph.environment import with_variables
from isles_assets.lib.progress import readable_time

_CONFIG = Path("demo.yaml")
_BEFORE = """\
The whole graph runs on a synthetic sample of the release, which is made first. That takes a minute or two,
and neither patient data nor an account.
"""


def run_demo(data: Path) -> int:
    """Run the demo in the checkout that is the working directory, with the data folder `data`; its exit code."""
    start = time.monotonic()
    _log(_BEFORE)
    if code := _run("dagster", "job", "execute", "-j", "build", "-c", str(_CONFIG)):
        _log("\nThe demo did not end well: see above.")
        return code
    settings = yaml.safe_load(_CONFIG.read_text())["resources"]["settings"]["config"]
    published = data / "hub" / settings["hub_repo"]
    _log(f"\nIt worked, in {readable_time(time.monotonic() - start)}. As `load_dataset` sees what was published:")
    if code := _run("isles_assets.cli", "summary", "--short", str(published)):
        return code
    _log("\nWhere to look next:")
    for what, where in _next(data, published):
        _log(f"  {what:<12} {where}")
    return 0


def _run(module: str, *arguments: str) -> int:
    command = (sys.executable, "-m", module, *arguments)
    return subprocess.run(command, env=with_variables(Path.cwd()), check=False).returncode  # noqa: S603 - our own


def _next(data: Path, published: Path) -> Iterator[tuple[str, str]]:
    yield "graph, runs", "make ui, then http://localhost:3000"
    report = data / "report" / "index.html"
    if report.exists():
        yield "report", str(report)
    yield "card", str(published / "README.md")
    yield "dataset", f"{published}, a folder to load like a repo of the Hub"
    yield "real data", "docs/operating.md; `make reset-demo` takes the sample away"


def _log(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_demo(Path(sys.argv[1])))
