"""Tests of isles_assets, against real Dagster instances, real files and the real clients of the Hub.

`huggingface_hub` reads its variables when it is imported, so they are set here, before anything else is: no test uses
the user's login or cache, and files travel by LFS, which the tests' own Hub serves, instead of Xet. No test asks
Zenodo itself either: those that ask the tests' own say so.
"""

import os
import tempfile

_HOME = tempfile.TemporaryDirectory(prefix="isles-assets-hf-")

os.environ |= {
    "HF_HOME": _HOME.name,
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "ISLES_LISTING": "off",
}
os.environ.pop("HF_TOKEN", None)
