"""The data folder (`ISLES_DATA_DIR`): where every table, shard and publication lies."""

from dataclasses import dataclass
from pathlib import Path

from isles_assets.products.schema import Config


@dataclass(frozen=True)
class DataFolder:
    """Paths below `root`; nothing is created by asking for one."""

    root: Path

    @property
    def sample(self) -> Path:
        """The synthetic tree that stands in for the release where `ISLES_RAW_ROOT` is unset."""
        return self.root / "sample" / "train"

    @property
    def archive(self) -> Path:
        """The release as Zenodo has it."""
        return self.root / "downloads" / "train.7z"

    @property
    def release(self) -> Path:
        """The tree that is extracted from the archive."""
        return self.root / "release" / "train"

    @property
    def raw_tree(self) -> Path:
        return self.root / "tables" / "raw_tree.parquet"

    @property
    def clinical(self) -> Path:
        return self.root / "tables" / "clinical.parquet"

    @property
    def manifest(self) -> Path:
        return self.root / "tables" / "manifest.parquet"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    def shard(self, config: Config, subject: str) -> Path:
        return self.shards / config.name / f"{subject}.parquet"

    def shard_record(self, subject: str) -> Path:
        """What is known of a subject's shards; it exists only while all of them are complete."""
        return self.shards / "records" / f"{subject}.json"

    @property
    def previews(self) -> Path:
        return self.root / "previews"

    def preview(self, subject: str) -> Path:
        return self.previews / f"{subject}.parquet"

    def preview_record(self, subject: str) -> Path:
        """What is known of a subject's preview; it exists only while the preview is complete."""
        return self.previews / "records" / f"{subject}.json"

    @property
    def preview_tables(self) -> Path:
        """Where the published table of previews lies, under a name that says what it was made from."""
        return self.previews / "table"

    @property
    def hub(self) -> Path:
        """The local target: one folder a repo, laid out as the Hub's."""
        return self.root / "hub"
