"""Ownership of the files in a repo of the Hub: which revisions isles-assets published, and which files it did not.

A revision is ours if its commit says that isles-assets made it, or if a tag of ours points at it and its card says so.
(Earlier versions said it only on the card. A publication that is killed before it is tagged says it only in its
commit.) A file is ours if a revision of ours, or the new publication, has the same bytes at the same path. So a file
that somebody committed on top of our revision is not ours. A file at a path that we never use is left alone. But if no
revision in the repo is ours, such a file, too, shows that the repo is somebody else's.
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

BACKUP_TAG = "before-isles-assets"
"""The tag that the commit with somebody else's files gets before these are replaced."""

_TYPE = "dataset"
_MADE_WITH = "isles-assets"
_OUR_TAG = re.compile(rf"(?!{BACKUP_TAG}).+-[0-9a-f]{{12}}")
_OUR_COMMIT = re.compile(rf"-[0-9a-f]{{12}}, made with {_MADE_WITH} ")
_HUB_FILE = ".gitattributes"


def tag_of(publication: Publication) -> str:
    """Return the tag of a publication. It names release and digest, so equal content has one tag."""
    return f"{publication.dataset.release.version}-{publication.digest[:12]}"


def description_of(publication: Publication) -> str:
    """Return the description of a publication's commit. It marks the commit as ours, even before it is tagged."""
    return f"{tag_of(publication)}, made with {_MADE_WITH} {isles_assets.__version__}"


@dataclass(frozen=True)
class RepoState:
    """The state of a repo at one moment."""

    head: str
    """The commit that `main` is at."""
    files: Mapping[str, StoredFile]
    """The files of `head`, by path."""
    tags: Mapping[str, str]
    """Commits, by tag."""
    branches: Mapping[str, str]
    """Commits, by branch."""

    @property
    def taken_over(self) -> list[str]:
        """The commits of somebody else's files that were replaced."""
        return [commit for tag, commit in self.tags.items() if tag.startswith(BACKUP_TAG)]

    def backup_tag(self) -> str:
        """Return the tag to give to `head` before its files are replaced. Each commit gets its own."""
        return BACKUP_TAG if self.tags.get(BACKUP_TAG, self.head) == self.head else f"{BACKUP_TAG}-{self.head[:12]}"


@dataclass(frozen=True)
class ForeignFiles:
    """Somebody else's files in `repo`."""

    repo: str
    head: str
    """The commit that `main` is at, which holds them."""
    paths: tuple[str, ...]
    """Their paths, sorted."""

    @property
    def finding(self) -> Finding:
        """The finding that names the files and the ways out."""
        count = f"{len(self.paths)} files that are" if len(self.paths) > 1 else "a file that is"
        problem = f"`main` is at {self.head}, with {count} not ours: {name_some(self.paths, 5)}"
        mend = (
            "look at them, and ask whose they are, or set ISLES_HUB_REPO to another repo. To put this dataset in their "
            f"place, set `take_over: {self.head}` in the run config: what is there stays under the tag {BACKUP_TAG}, "
            "to which job rollback can return"
        )
        return Finding(problem, mend, path=self.repo)

    def check(self, take_over: str, headline: str) -> None:
        """Raise `Refusal` with the `headline` unless `take_over` is the commit `head`."""
        if take_over == self.head:
            return
        moved = Finding(
            f"`take_over` names {take_over}, but `main` is at {self.head}: somebody has moved it, or the name is not "
            "the whole commit",
            f"look at what is there now; then name {self.head}",
            path=self.repo,
        )
        raise Refusal(headline, [moved, self.finding] if take_over else [self.finding])


def own_revisions(api: HfApi, repo: str, state: RepoState) -> Iterator[str]:
    """Yield the commits that isles-assets published to `repo`: that of `main` first, then from new to old.

    It asks the Hub for each only when the caller needs it.
    """
    tagged = [commit for tag, commit in state.tags.items() if _OUR_TAG.fullmatch(tag)]
    at_head = state.head in tagged and _card_is_ours(api, repo, state.head)
    if at_head:
        yield state.head
    history = api.list_repo_commits(repo, repo_type=_TYPE, revision=state.head)
    described = {commit.commit_id for commit in history if _OUR_COMMIT.search(commit.message)}
    for commit in dict.fromkeys([*(entry.commit_id for entry in history), *tagged]):
        if at_head and commit == state.head:
            continue
        if commit in described or (commit in tagged and _card_is_ours(api, repo, commit)):
            yield commit


def _card_is_ours(api: HfApi, repo: str, commit: str) -> bool:
    card = HubCommit(api, repo, commit).find([CARD]).get(CARD)
    return card is not None and _MADE_WITH.encode() in b"".join(card.read(0, card.size))


def foreign_paths(
    dataset: Dataset, state: RepoState, publication: Publication | None, published: Iterable[Mapping[str, StoredFile]]
) -> tuple[str, ...]:
    """Return the paths of somebody else's files in the repo, sorted.

    Args:
        publication: The publication that is about to replace them, if any.
        published: The files of each revision that isles-assets published. They are read only as far as needed.
    """
    planned = {file.path: file for file in publication.files} if publication else {}
    candidates = {
        path: file
        for path, file in state.files.items()
        if path != _HUB_FILE and not (path in planned and file.matches(planned[path]))
    }
    foreign, is_our_repo = {path: file for path, file in candidates.items() if dataset.is_ours(path)}, False
    for files in published if candidates else ():
        is_our_repo = True
        foreign = without(foreign, files)
        if not foreign:
            break
    return tuple(sorted(foreign if is_our_repo else candidates))


def without(files: Mapping[str, StoredFile], others: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
    """Return those `files` that `others` lack, or have with other bytes at the same path."""
    return {path: file for path, file in files.items() if others.get(path) != file}
