"""isles-assets: the ISLES'24 stroke release as a Dagster asset graph, published to the Hugging Face Hub.

`defs`, the code location that `dagster -m isles_assets` looks for, is loaded when it is asked for, so that the
rest of the package can be used without Dagster.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["defs"]


def __getattr__(name: str) -> Any:
    if name == "defs":
        from isles_assets.definitions import defs

        return defs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
