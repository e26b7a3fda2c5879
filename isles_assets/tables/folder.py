"""The data folder (`ISLES_DATA_DIR`): where archive, tree and tables of a release lie, and the local hub.

Where a product lies is said by the product, below its own folder here.
"""

from dataclasses import dataclass
from pathlib import Path

from isles_assets.release.release import Release
from isles_assets.release.zenodo_record import ORIGIN_NOTE


@dataclass(frozen=True)
class DataFolder:
    """Paths below `root` for all that is made of `release`; nothing is created by asking for one.

    `waivers_file` is where the operator's waivers are, if not here.
    """

    root: Path
    release: Release
    waivers_file: Path | None = None

    @property
    def waivers(self) -> Path:
        """What the operator takes responsibility for; it need not exist."""
        return self.waivers_file or self.root / "waivers.yaml"

    @property
    def sample(self) -> Path:
        """The synthetic tree that stands in for the release where no other source is set."""
        return self.root / "sample" / self.release.record.top

    @property
    def archive(self) -> Path:
        """The release as Zenodo has it."""
        return self.root / "downloads" / self.release.record.archive

    @property
    def tree(self) -> Path:
        """The tree that is extracted from the archive."""
        return self.root / "release" / self.release.record.top

    @property
    def listing(self) -> Path:
        """The table of what the archive's header says of its files."""
        return self.root / "tables" / "archive_listing.parquet"

    def has_extracted(self, tree: Path) -> bool:
        """Whether `tree` is the one that this package has extracted from the archive, and not one put in its place."""
        return tree == self.tree and (tree / ORIGIN_NOTE).is_file()

    @property
    def raw_tree(self) -> Path:
        """The table of the tree's files."""
        return self.root / "tables" / "raw_tree.parquet"

    @property
    def clinical(self) -> Path:
        return self.root / "tables" / "clinical.parquet"

    @property
    def clinical_findings(self) -> Path:
        """The table of what was wrong with the workbooks."""
        return self.root / "tables" / "clinical_findings.parquet"

    @property
    def manifest(self) -> Path:
        return self.root / "tables" / "manifest.parquet"

    @property
    def digests(self) -> Path:
        """The table of what the volumes were when they were last read to their ends."""
        return self.root / "tables" / "digests.parquet"

    @property
    def report(self) -> Path:
        """The page on which a person decides whether to publish."""
        return self.root / "report" / "index.html"

    @property
    def dry_run(self) -> Path:
        """The card that a dry run would publish, and what it shows."""
        return self.root / "dry_run"

    @property
    def hub(self) -> Path:
        """The local target: one folder a repo, laid out as the Hub's."""
        return self.root / "hub"
