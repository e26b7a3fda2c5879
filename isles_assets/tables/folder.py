"""The data folder (`ISLES_DATA_DIR`): paths of a release's archive, tree and tables, and of the local hub.

Each product has a folder of its own here and defines the paths below it.
"""

from dataclasses import dataclass
from pathlib import Path

from isles_assets.release.release import Release
from isles_assets.release.zenodo_record import ORIGIN_NOTE


@dataclass(frozen=True)
class DataFolder:
    """Paths below `root` for all that is made of `release`. No property creates its path."""

    root: Path
    release: Release
    waivers_file: Path | None = None
    """The operator's waivers, if they are not in the data folder."""
    release_root: Path | None = None
    """The data folder that has archive and tree, if it is another one."""

    @property
    def _of_release(self) -> Path:
        return self.release_root or self.root

    @property
    def waivers(self) -> Path:
        """The operator's waivers. The file need not exist."""
        return self.waivers_file or self.root / "waivers.yaml"

    @property
    def sample(self) -> Path:
        """The synthetic tree, used if no other source is set."""
        return self._of_release / "sample" / self.release.record.top

    @property
    def archive(self) -> Path:
        """The release's archive, as Zenodo has it."""
        return self._of_release / "downloads" / self.release.record.archive

    @property
    def tree(self) -> Path:
        """The tree extracted from the archive."""
        return self._of_release / "release" / self.release.record.top

    @property
    def listing(self) -> Path:
        """The table of the files that the archive's header lists."""
        return self.root / "tables" / "archive_listing.parquet"

    def has_extracted(self, tree: Path) -> bool:
        """Return whether this package extracted `tree` from the archive, so nobody put another in its place."""
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
        """The table of the findings on the workbooks."""
        return self.root / "tables" / "clinical_findings.parquet"

    @property
    def manifest(self) -> Path:
        return self.root / "tables" / "manifest.parquet"

    @property
    def digests(self) -> Path:
        """The table of the volumes' digests."""
        return self.root / "tables" / "digests.parquet"

    @property
    def report(self) -> Path:
        """The page to look at before publishing."""
        return self.root / "report" / "index.html"

    @property
    def dry_run(self) -> Path:
        """The folder of the card that a dry run would publish, and of its pictures."""
        return self.root / "dry_run"

    @property
    def hub(self) -> Path:
        """The local target: one folder per repo, laid out as on the Hub."""
        return self.root / "hub"

    @property
    def pilot(self) -> Path:
        """The data folder of a pilot."""
        return self.root / "pilot"
