"""`make demo`: it runs the job `build` on the synthetic sample, then says where to look next.

It runs `dagster job execute -j build -c demo.yaml`. That file chooses the sample and the local target, whatever the
environment and .env contain.
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
_INTRODUCTION = """\
This makes a synthetic sample of the release and runs the whole graph on it. It takes a minute or two, and needs
neither patient data nor an account.
"""


def run_demo(data: Path) -> int:
    """Run the demo in the checkout that is the working directory, with the data folder `data`. Return the exit code."""
    start = time.monotonic()
    _print(_INTRODUCTION)
    if code := _run("dagster", "job", "execute", "-j", "build", "-c", str(_CONFIG)):
        _print("\nThe demo failed: see above.")
        return code
    settings = yaml.safe_load(_CONFIG.read_text())["resources"]["settings"]["config"]
    published = data / "hub" / settings["hub_repo"]
    _print(
        f"\nIt worked, in {readable_time(time.monotonic() - start)}. The published dataset, as `load_dataset` reads it:"
    )
    if code := _run("isles_assets.cli", "summary", "--short", str(published)):
        return code
    _print("\nWhere to look next:")
    for name, place in _next(data, published):
        _print(f"  {name:<12} {place}")
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
    yield "dataset", f"{published}, a folder that `load_dataset` loads like a repo of the Hub"
    yield "real data", "docs/operating.md; `make reset-demo` removes the sample"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_demo(Path(sys.argv[1])))
