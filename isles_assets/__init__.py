"""isles-assets: the ISLES'24 stroke release as a Dagster asset graph, published to the Hugging Face Hub.

The names in `__all__` are the public interface. Each is imported when it is first used, so whoever reads a published
dataset needs no Dagster. `defs` is the code location that `dagster -m isles_assets` looks for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isles_assets.cli.summary import summarize_dataset
    from isles_assets.definitions import build_defs, defs
    from isles_assets.graph.settings import Settings
    from isles_assets.lib.findings import Finding, Refusal
    from isles_assets.published.clinical_frame import clinical_frame
    from isles_assets.release.isles24 import ISLES24
    from isles_assets.release.release import Release

__version__ = "0.1.0"
__all__ = [
    "ISLES24",
    "Finding",
    "Refusal",
    "Release",
    "Settings",
    "build_defs",
    "clinical_frame",
    "defs",
    "summarize_dataset",
]

_MODULES = {
    "ISLES24": "release.isles24",
    "Finding": "lib.findings",
    "Refusal": "lib.findings",
    "Release": "release.release",
    "Settings": "graph.settings",
    "build_defs": "definitions",
    "clinical_frame": "published.clinical_frame",
    "defs": "definitions",
    "summarize_dataset": "cli.summary",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
