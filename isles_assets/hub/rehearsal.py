"""What publishing would do, found out without sending anything. It needs neither a repo nor the right to write."""

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
    """What publishing `publication` at `page` would change; `card` is the file to look at, with its picture beside it.

    `changes` are None if the target could not be asked what it holds, and `why_not` says why: then everything may have
    to be sent. `others` is what of somebody else's would have to be replaced.
    """

    publication: Publication
    page: str
    card: Path
    changes: Changes | None
    why_not: str
    others: Sequence[Finding]

    @property
    def to_send(self) -> int:
        """Bytes of the files that the target does not hold at their paths; it may have some of them elsewhere."""
        files = self.publication.files if self.changes is None else self.changes.files
        return sum(file.size for file in files)

    def rows(self) -> list[tuple[str, str]]:
        """What would happen, by what: for a table and for the log."""
        publication, judgement = self.publication, self.publication.judgement
        waivers = sorted({f"{finding.property}: {waiver.reason}" for finding, waiver in judgement.waived})
        if self.changes is None:
            what = [("compared", f"no, {self.why_not}"), ("files", f"at most all {len(publication.files)} are sent")]
        else:
            what = [(f"files {kind}", _some(paths)) for kind, paths in self._paths(self.changes).items()]
            what.append(("files unchanged", str(len(self.changes.unchanged))))
        size = f", {readable_bytes(self.to_send)}" if self.to_send else ""
        others = [("in the way", finding.problem) for finding in self.others]
        return [
            ("target", self.page),
            *others,
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
    """What publishing `publication` to `target` would do. Writes the card and what it shows below `folder`, to look at.

    Of a local target a file is read only if it is not the very one that would be published; a Hub states its digests.
    """
    for file in publication.files:
        if isinstance(file.content, bytes):
            with atomic_write(folder.dry_run / file.path) as temporary:
                temporary.write_bytes(file.content)
    others: Sequence[Finding] = ()
    changes, why_not = None, ""
    try:
        others = target.in_the_way(publication)
        changes = compare(publication, target.stored(publication))
    except Refusal as refusal:
        why_not = "; ".join(finding.problem for finding in refusal.findings) or refusal.headline
    return Rehearsal(publication, target.page, folder.dry_run / CARD, changes, why_not, others)


def _some(names: Sequence[str], *, of: int | None = None) -> str:
    number = len(names) if of is None else of
    return f"{number}: {name_some(names, 3)}" if names else str(number)
