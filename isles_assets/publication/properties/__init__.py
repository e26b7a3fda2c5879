"""What must be true of the release, one property a function: its first line is the sentence that it enforces.

The asset checks and the guard of `hub_dataset` call the same functions. To add one, write it under `@enforced` in the
module of what it looks at: `archive`, `tree`, `clinical` or `volumes`. Nothing else has to be changed. The level of
what it finds is decided in `release.problems`.
"""

from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties import archive, clinical, tree, volumes
from isles_assets.publication.property import Property, properties_of

__all__ = ["Evidence", "Property", "archive", "clinical", "properties_of", "tree", "volumes"]
