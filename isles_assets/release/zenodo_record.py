"""What is pinned of a release's record on Zenodo, and the works to cite."""

from dataclasses import dataclass

ORIGIN_NOTE = ".isles_assets.json"
"""In the root of a tree that was extracted here: which record's archive it was extracted from. No file of a release."""


@dataclass(frozen=True)
class ZenodoRecord:
    """One version of the release on Zenodo: its `record` and `concept` ids, and its archive; `size` in bytes."""

    title: str
    version: str
    record: str
    concept: str
    archive: str
    size: int
    md5: str
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
        """The one folder at the archive's top."""
        return self.archive.removesuffix(".7z")


@dataclass(frozen=True)
class Citation:
    """A work to cite; `bibtex` is complete."""

    key: str
    about: str
    bibtex: str


def record_url(record: str) -> str:
    """The page of a record, for people."""
    return f"https://zenodo.org/records/{record}"
