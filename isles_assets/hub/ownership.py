"""Whose the files in a repo of the Hub are: which of its revisions we have published, and what is somebody else's.

A revision is ours if a tag that we give points at it and its card says what it was made with, or if its commit says so.
(Earlier versions said it on the card only; a publication that is killed before it is tagged says it in its commit.) A
file is ours if a revision of ours holds the same under the same path, or what is to be published does. So also what
somebody has committed on top of ours is somebody else's. A file that lies where none of ours goes is left alone; but in
a repo without any revision of ours it says that the repo is somebody else's.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from huggingface_hub import HfApi

import isles_assets
from isles_assets.hub.changes import StoredFile
from isles_assets.hub.reading import HubCommit
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.products.config import CARD
from isles_assets.products.dataset import Dataset
from isles_assets.publication.publication import Publication

BEFORE = "before-isles-assets"
"""The tag of what somebody else had in the repo before it was taken over."""

_TYPE = "dataset"
_MADE_WITH = "isles-assets"
_OUR_TAG = re.compile(rf"(?!{BEFORE}).+-[0-9a-f]{{12}}")
_OUR_COMMIT = re.compile(rf"-[0-9a-f]{{12}}, made with {_MADE_WITH} ")
_NOBODYS = ".gitattributes"


def tag_of(publication: Publication) -> str:
    """The tag of a publication: release and digest, so that equal content has one tag."""
    return f"{publication.dataset.release.version}-{publication.digest[:12]}"


def description_of(publication: Publication) -> str:
    """What the commit of a publication says beside its title, by which it is known as ours before it is tagged."""
    return f"{tag_of(publication)}, made with {_MADE_WITH} {isles_assets.__version__}"


@dataclass(frozen=True)
class Found:
    """A repo as it was found: `main` at the commit `head`, with its `files`; the commits of `tags` and `branches`."""

    head: str
    files: Mapping[str, StoredFile]
    tags: Mapping[str, str]
    branches: Mapping[str, str]

    @property
    def taken_over(self) -> list[str]:
        """The commits that were tagged because what they hold was to be replaced."""
        return [commit for tag, commit in self.tags.items() if tag.startswith(BEFORE)]

    def tag_before(self) -> str:
        """The tag for `head`, if its files are to be replaced: another one if that name is given to another commit."""
        return BEFORE if self.tags.get(BEFORE, self.head) == self.head else f"{BEFORE}-{self.head[:12]}"


@dataclass(frozen=True)
class Others:
    """Somebody else's files: the `paths`, sorted, at the commit `head` that `main` of `repo` is at."""

    repo: str
    head: str
    paths: tuple[str, ...]

    @property
    def finding(self) -> Finding:
        """What is there, and what can be done."""
        count = f"{len(self.paths)} files that are" if len(self.paths) > 1 else "a file that is"
        problem = f"`main` is at {self.head}, with {count} not ours: {name_some(self.paths, 5)}"
        mend = (
            "look at them, and ask whose they are, or set ISLES_HUB_REPO to another repo. To put this dataset in their "
            f"place, set `take_over: {self.head}` in the run config: what is there stays under the tag {BEFORE}, to "
            "which job rollback can return"
        )
        return Finding(problem, mend, path=self.repo)

    def check(self, take_over: str, headline: str) -> None:
        """Raise `Refusal` with the `headline` unless `take_over` names the commit that they are at."""
        if take_over == self.head:
            return
        moved = Finding(
            f"`take_over` names {take_over}, but `main` is at {self.head}: somebody has moved it, or the name is not "
            "the whole commit",
            f"look at what is there now; then name {self.head}",
            path=self.repo,
        )
        raise Refusal(headline, [moved, self.finding] if take_over else [self.finding])


def own_revisions(api: HfApi, repo: str, found: Found) -> Iterator[str]:
    """The commits that we have published to `repo`, that of `main` first, then newest first; asked for as needed."""
    tagged = [commit for tag, commit in found.tags.items() if _OUR_TAG.fullmatch(tag)]
    at_head = found.head in tagged and _card_is_ours(api, repo, found.head)
    if at_head:
        yield found.head
    history = api.list_repo_commits(repo, repo_type=_TYPE, revision=found.head)
    said = {commit.commit_id for commit in history if _OUR_COMMIT.search(commit.message)}
    for commit in dict.fromkeys([*(each.commit_id for each in history), *tagged]):
        if at_head and commit == found.head:
            continue
        if commit in said or (commit in tagged and _card_is_ours(api, repo, commit)):
            yield commit


def _card_is_ours(api: HfApi, repo: str, commit: str) -> bool:
    card = HubCommit(api, repo, commit).find([CARD]).get(CARD)
    return card is not None and _MADE_WITH.encode() in b"".join(card.read(0, card.size))


def paths_of_others(
    dataset: Dataset, found: Found, publication: Publication | None, ours: Iterable[Mapping[str, StoredFile]]
) -> tuple[str, ...]:
    """The paths of what is somebody else's at `found`, sorted.

    `ours` are the files of each revision of ours, looked at as far as needed; `publication` is to be published.
    """
    planned = {file.path: file for file in publication.files} if publication else {}
    there = {
        path: file
        for path, file in found.files.items()
        if path != _NOBODYS and not (path in planned and file.holds(planned[path]))
    }
    left, is_our_repo = {path: file for path, file in there.items() if dataset.is_ours(path)}, False
    for files in ours if there else ():
        is_our_repo = True
        left = without(left, files)
        if not left:
            break
    return tuple(sorted(left if is_our_repo else there))


def without(files: Mapping[str, StoredFile], others: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
    """Those of `files` that `others` do not have under the same path, or have with other bytes."""
    return {path: file for path, file in files.items() if others.get(path) != file}
