"""The archive's listing against the facts of the release, and the tree against both."""

from collections.abc import Iterator

from isles_assets.doctor.lines import Line, Status, Topic, fine, line_of_findings, lines_of
from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.words import counted
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties import properties_of
from isles_assets.publication.waivers import judge, read_waivers
from isles_assets.settings.setup import ListingQuestion, Setup
from isles_assets.source.listing import BRIEF
from isles_assets.source.zenodo import Zenodo
from isles_assets.tables.listing import Listing, obtain_listing

_ASSETS = {Topic.LISTING: "archive_listing", Topic.TREE: "raw_tree"}


def archive_and_tree_lines(setup: Setup) -> Iterator[Line]:
    """Yield the lines on listing and tree; if the waivers cannot be read, only that, because these judge both."""
    try:
        read_waivers(setup.folder.waivers)
    except Refusal as refusal:
        if setup.folder.root.is_dir():  # else the line on the data folder says so
            yield from lines_of(Topic.TREE, Status.BLOCKER, refusal)
        return
    listing = listing_of(setup)
    yield from listing_lines(setup, listing)
    yield from tree_lines(setup, listing)


def listing_lines(setup: Setup, listing: Listing | Refusal) -> Iterator[Line]:
    """Yield what the archive's listing holds, and what it should hold and does not."""
    if isinstance(listing, Refusal):
        yield from lines_of(Topic.LISTING, Status.BLOCKER, listing)
        return
    if listing.why_not and setup.uses_sample and not setup.tree.exists():
        yield fine(Topic.LISTING, "none yet: a synthetic tree brings its own")
        return
    if listing.why_not:
        status = Status.FINE if setup.uses_sample or setup.listing is ListingQuestion.off else Status.NOTE
        what = f"the tree is not compared with the archive: {listing.why_not}"
        yield Line(Topic.LISTING, status, what, "" if status is Status.FINE else "see ISLES_ZENODO_ENDPOINT, or go on")
        return
    blocks = {member.block for member in listing.members.values()} - {None}
    size = sum(member.size for member in listing.members.values())
    what = f"{counted(len(listing.members), 'file')}, {readable_bytes(size)}"
    what += f" in {counted(len(blocks), 'block')}" if blocks else ""
    yield fine(Topic.LISTING, f"{what}, by {listing.origin}")
    stopping, _ = _judged(_evidence(setup, listing), Topic.LISTING)
    yield from stopping


def tree_lines(setup: Setup, listing: Listing | Refusal) -> Iterator[Line]:
    """Yield what is in the tree, and what is not as in the release or its listing. Reads names and sizes only."""
    if not setup.tree.exists() and (setup.uses_sample or setup.uses_zenodo):
        how = "made" if setup.uses_sample else "extracted"
        yield fine(Topic.TREE, f"none yet: it will be {how} at {setup.tree}")
        return
    if setup.uses_zenodo and not setup.folder.has_extracted(setup.tree):
        mend = "move it away; or set ISLES_RAW_ROOT to it, to use it whatever it is"
        yield Line(Topic.TREE, Status.BLOCKER, f"{setup.tree} was not extracted here", mend)
    evidence = _evidence(setup, Listing() if isinstance(listing, Refusal) else listing)
    try:
        stopping, notes = _judged(evidence, Topic.TREE)
    except Refusal as refusal:
        yield from lines_of(Topic.TREE, Status.BLOCKER, refusal)
        return
    yield from stopping
    size = readable_bytes(sum(file.size for file in evidence.inventory.values()))
    held = f"{counted(len(evidence.inventory), 'file')}, {size}, in {setup.tree}"
    is_as_listed = evidence.listing.members and not evidence.listing.why_not and not stopping
    compared = ", by name and size as listed" if is_as_listed else ""
    odd = f"; {counted(notes, 'note')}" if notes else ""
    yield fine(Topic.TREE, f"{held}{compared}{odd}")


def listing_of(setup: Setup) -> Listing | Refusal:
    """Return the listing that a run would use, or why it would refuse. Stores nothing."""
    may_ask = setup.listing is ListingQuestion.on and not setup.uses_sample
    try:
        return obtain_listing(setup.folder, setup.tree, Zenodo(setup.zenodo_endpoint, BRIEF) if may_ask else None)
    except Refusal as refusal:
        return refusal


def _evidence(setup: Setup, listing: Listing) -> Evidence:
    return Evidence(setup.tree, setup.folder, fresh_tree=True).with_listing(listing)


def _judged(evidence: Evidence, topic: Topic) -> tuple[list[Line], int]:
    """Return what the checks of the asset of `topic` would stop at, and the number of notes.

    Raises:
        Refusal: The tree cannot be read.
    """
    release = evidence.release
    of_asset = [prop for prop in properties_of(release) if prop.asset == _ASSETS[topic]]
    judgements = {prop.name: judge(release, prop.find(evidence), evidence.waivers) for prop in of_asset}
    stopping = [
        line_of_findings(topic, Status.BLOCKER, name, judgement.stopping)
        for name, judgement in judgements.items()
        if judgement.stopping
    ]
    return stopping, sum(len(judgement.notes) for judgement in judgements.values())
