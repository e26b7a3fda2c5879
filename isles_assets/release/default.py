"""The release that this installation is for: what the code location and the command `isles24` are made for."""

from isles_assets.release.isles24 import ISLES24

RELEASE = ISLES24
