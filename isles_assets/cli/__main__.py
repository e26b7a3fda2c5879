"""`python -m isles_assets.cli` is `isles24`, also where its script is not installed."""

import sys

from isles_assets.cli import main

sys.exit(main())
