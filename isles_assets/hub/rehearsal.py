"""The dry run: what publishing would change, without sending anything. It needs no repo and no right to write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isles_assets.hub.changes import Changes, compare
from isles_assets.hub.target import Target
from isles_assets.lib.files import atomic_write
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import readable_bytes
from isles_assets.products.config import CARD
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder


@dataclass(frozen=True)
class Rehearsal:
    """What publishing would change."""

    publication: Publication
    page: str
    """Address of the target, for people."""
    card: Path
    """The rendered card, with its picture beside it."""
    changes: Changes | None
    """None if the target did not say what it holds. Then all files may have to be sent."""
    why_not: str
    """Why there are no changes; empty if there are."""
    foreign: Sequence[Finding]
    """Somebody else's files that would have to be replaced."""

    @property
    def to_send(self) -> int:
        """Bytes of the files that the target does not hold under their paths. It may hold some under other paths."""
        files = self.publication.files if self.changes is None else self.changes.files
        return sum(file.size for file in files)

    def rows(self) -> list[tuple[str, str]]:
        """Return what would happen, as rows of name and value for a table and for the log."""
        publication, judgement = self.publication, self.publication.judgement
        waivers = sorted({f"{finding.property}: {waiver.reason}" for finding, waiver in judgement.waived})
        if self.changes is None:
            what = [("compared", f"no, {self.why_not}"), ("files", f"at most all {len(publication.files)} are sent")]
        else:
            what = [(f"files {kind}", _some(paths)) for kind, paths in self._paths(self.changes).items()]
            what.append(("files unchanged", str(len(self.changes.unchanged))))
        size = f", {readable_bytes(self.to_send)}" if self.to_send else ""
        foreign = [("in the way", finding.problem) for finding in self.foreign]
        return [
            ("target", self.page),
            *foreign,
            *what,
            ("bytes to send", f"{self.to_send:,} of {publication.size:,}{size}"),
            ("waived findings", _some(waivers, of=len(judgement.waived))),
            ("notes", f"{len(judgement.notes)}, told on the card"),
            ("card", str(self.card)),
        ]

    @staticmethod
    def _paths(changes: Changes) -> dict[str, list[str]]:
        return {
            "added": [file.path for file in changes.added],
            "changed": [file.path for file in changes.changed],
            "deleted": list(changes.removed),
        }


def rehearse(target: Target, publication: Publication, folder: DataFolder) -> Rehearsal:
    """Return what publishing would do. Write the card and its picture to the data folder, for people to look at.

    A file of a local target is read only if it is not a link to the file that would be published. A Hub states digests.
    """
    for file in publication.files:
        if isinstance(file.content, bytes):
            with atomic_write(folder.dry_run / file.path) as temporary:
                temporary.write_bytes(file.content)
    foreign: Sequence[Finding] = ()
    changes, why_not = None, ""
    try:
        foreign = target.in_the_way(publication)
        changes = compare(publication, target.stored(publication))
    except Refusal as refusal:
        why_not = "; ".join(finding.problem for finding in refusal.findings) or refusal.headline
    return Rehearsal(publication, target.page, folder.dry_run / CARD, changes, why_not, foreign)


def _some(names: Sequence[str], *, of: int | None = None) -> str:
    number = len(names) if of is None else of
    return f"{number}: {name_some(names, 3)}" if names else str(number)
