"""Types of the pinned record on Zenodo, and of works to cite."""

from dataclasses import dataclass

ORIGIN_NOTE = ".isles_assets.json"
"""File in the root of a tree that this package extracted. It states the archive's record, and is not the release's."""


@dataclass(frozen=True)
class ZenodoRecord:
    """One version of the release on Zenodo, and its archive."""

    title: str
    version: str
    record: str  # id of this version
    concept: str  # id of all versions
    archive: str  # file name
    size: int  # of the archive, bytes
    md5: str  # of the archive
    license_id: str
    license_name: str
    license_url: str
    license_terms: str

    @property
    def doi(self) -> str:
        return f"10.5281/zenodo.{self.record}"

    @property
    def url(self) -> str:
        return record_url(self.record)

    @property
    def top(self) -> str:
        """Name of the one folder at the top of the archive."""
        return self.archive.removesuffix(".7z")


@dataclass(frozen=True)
class Citation:
    """A work to cite."""

    key: str
    about: str
    bibtex: str  # the complete entry


def record_url(record: str) -> str:
    """Return the address of a record's page for people."""
    return f"https://zenodo.org/records/{record}"
