"""`python -m isles_assets.cli`: the command `isles24` where its script is not installed."""

import sys

from isles_assets.cli import main

sys.exit(main())
