"""What must be true of the release. Each property is a function, and its first line is the sentence that it enforces.

The asset checks and the guard of `hub_dataset` call the same functions. To add a property, write a function under
`@enforced` in the module of what it looks at: `archive` (the listing), `tree`, `clinical` (the table and its
workbooks) or `volumes` (the manifest and the shards). `release.problems` decides the level of each kind of finding.
"""

from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties import archive, clinical, tree, volumes
from isles_assets.publication.property import Property, properties_of

__all__ = ["Evidence", "Property", "archive", "clinical", "properties_of", "tree", "volumes"]
