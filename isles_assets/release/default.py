"""The release that the code location and the command `isles24` use."""

from isles_assets.release.isles24 import ISLES24

RELEASE = ISLES24
