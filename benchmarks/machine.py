"""What was measured on, as far as it says something about the numbers."""

import platform
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path

from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.workers import available_cores

_PACKAGES = (
    "numpy",
    "pyarrow",
    "datasets",
    "huggingface_hub",
    "hf_xet",
    "dagster",
    "isal",
    "nibabel",
    "pillow",
    "thriftpy2",
)


def machine(work: Path) -> dict[str, str]:
    """The machine, and the file system that `work` is on."""
    return {
        "CPU": _value("/proc/cpuinfo", "model name"),
        "cores": str(available_cores()),
        "memory": readable_bytes(int(_value("/proc/meminfo", "MemTotal").split()[0]) * 1024),
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "file system": _said("df", "--output=fstype", str(work)).splitlines()[-1],
    }


def versions() -> dict[str, str]:
    """Python, the packages that do the work, and the commands that are compared with."""
    return {
        "Python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        "sha256sum": _said("sha256sum", "--version").splitlines()[0].split()[-1],
        "gzip": _said("gzip", "--version").splitlines()[0].split()[-1],
    }


def _value(file: str, name: str) -> str:
    """What `file` has behind `name` and a colon."""
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
