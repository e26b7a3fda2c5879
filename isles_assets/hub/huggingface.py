"""The Hugging Face Hub as target: upload the files, where no reader sees them; commit once; check the result.

`huggingface_hub` finds the token by itself (`HF_TOKEN` or a login); this module never holds it. The client retries
requests, but tries a commit only once. This module tries a commit again if the Hub asks to wait.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff
from huggingface_hub.utils._runtime import is_xet_available

from isles_assets.hub.changes import REPORT_TO_HUB, RETURNS_OTHER_BYTES, StoredFile, compare, differences
from isles_assets.hub.denials import as_asked, denials_explained
from isles_assets.hub.ownership import (
    ForeignFiles,
    RepoState,
    description_of,
    foreign_paths,
    own_revisions,
    tag_of,
    without,
)
from isles_assets.hub.reading import HubCommit, digest_of, reading_explained
from isles_assets.hub.repo import check_repo_id, http_status, write_access
from isles_assets.hub.sending import send
from isles_assets.hub.target import Destination, Published, Target
from isles_assets.hub.xet import check_cache, lack_of_room_explained, limit_memory
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import Progress, announced, readable_bytes
from isles_assets.lib.secrets import without_secrets
from isles_assets.lib.words import counted
from isles_assets.products.config import CARD
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

MAIN = "main"
STAGING = "staging"
_TYPE = "dataset"
_GROUP_FILES = 10
"""Least number of files in a group that is uploaded together: an interruption loses one group's progress."""
_GROUP_BYTES = 1 << 28
"""Bytes up to which a group may have more files, because each group costs some requests."""
_STALE_PARENT = 412
"""HTTP status of a commit if somebody else's commit came first."""
_COMMIT_TRIES = 5
_NOT_PUBLISHED = "Not published."
_NOTHING_SENT = "Nothing was sent to the Hub."
_FOREIGN_FILES = "Nothing was sent to the Hub: the repo holds somebody else's files."
_NOT_STAGED = "Staging failed; nothing was freed."


@dataclass(frozen=True)
class HuggingFaceHub(Target):
    """The repo of `dataset` on the Hub. It reads `revision` and writes to `main`."""

    is_public = True
    states_digests = True

    repo: str
    dataset: Dataset
    private: bool = False
    """Whether the repo must be private. A new one is made so."""
    take_over: str = ""
    """The commit of somebody else's files that may be replaced."""
    endpoint: str | None = None
    """None: `HF_ENDPOINT`."""
    revision: str = MAIN
    log: Callable[[str], None] = field(default=logging.getLogger(__name__).info, repr=False)

    def __post_init__(self) -> None:
        check_repo_id(self.repo)

    @classmethod
    def at(cls, destination: Destination) -> "HuggingFaceHub":
        return cls(
            destination.repo, destination.dataset, destination.private, destination.take_over, log=destination.log
        )

    @property
    def _api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, library_name="isles-assets")

    @property
    def location(self) -> str:
        return self.repo

    @property
    def page(self) -> str:
        return without_secrets(f"{self._api.endpoint}/{_TYPE}s/{self.repo}")

    def publish(self, publication: Publication) -> Published:
        """Move `main` in one commit to a revision that holds `publication`, and tag it.

        Files that the Hub has are not sent again, so publishing again after an interruption resumes.

        Raises:
            Refusal: The token may not write, the repo is somebody else's, or it is public but should be private,
                somebody else moved `main` meanwhile, or the published files are not the local ones.
            TransientRefusal: The Hub does not answer.
        """
        with write_access(self._api, self.repo):
            state = self._ensure_repo()
            self._is_tagged(publication, state)  # refuses a wrong tag before anything is sent
            backup_tag = self._take_over(publication, state)
            revision, changes = state.head, compare(publication, state.files)
            if changes:
                copies = self._copies([file for file in changes.files if file.content is None], state, _NOT_PUBLISHED)
                local = [file for file in changes.files if file.content is not None]
                additions = self._upload(local, MAIN, _NOT_PUBLISHED)
                deletions = [CommitOperationDelete(path) for path in changes.removed]
                release = self.dataset.release
                title = f"{release.label} {release.version}: {counted(len(publication.subjects), 'subject')}"
                operations: list[Operation] = [*additions, *copies, *deletions]
                revision = self._commit(
                    operations,
                    title,
                    state.head,
                    lambda stored: not compare(publication, stored),
                    description_of(publication),
                )
            stored = self.files_at(revision) if changes else state.files
            if wrong := differences(publication, stored):
                raise Refusal(f"Revision {revision} of {self.repo} is not what was to be published.", wrong)
            tag = self._tag(publication, state, revision)
            now = self._state_at(revision, stored)
            self._is_tagged(publication, now)  # refuses if somebody else gave the tag meanwhile
            self._remove_staging(now)
            return Published(self._url(revision), revision, bool(changes), changes, tag, backup_tag)

    def in_the_way(self, publication: Publication | None) -> Sequence[Finding]:
        with denials_explained(self.repo, "The Hub was not asked.", self._api.endpoint):
            try:
                info = self._api.repo_info(self.repo, repo_type=_TYPE)
                foreign = self._foreign_files(self._state_at(str(info.sha)), publication)
            except RepositoryNotFoundError:  # there is none, or it cannot be seen without a token
                return []
        return [foreign.finding] if foreign else []

    def prepare_staging(self) -> None:
        """Create the repo and its staging branch if they do not exist.

        Raises:
            Refusal: As in `publish`.
        """
        with write_access(self._api, self.repo):
            state = self._ensure_repo()
            if foreign := self._foreign_files(state, None):
                foreign.check(self.take_over, _FOREIGN_FILES)
            self._sends_by_xet(0)  # refuses before anything is created
            self._api.create_branch(self.repo, branch=STAGING, repo_type=_TYPE, exist_ok=True)

    def stage(self, files: Sequence[PublicationFile]) -> None:
        """Put `files` on the staging branch in one commit. Readers of `main` do not see them there.

        On return the Hub states their recorded sizes and digests. The bytes sent were digested on the way, and one file
        of each group was read back. Files that are staged already are not sent again. Files that were freed from this
        disk are copied to the branch from another revision of the repo.

        Raises:
            Refusal: A file is not what was recorded, here or on the Hub, or the Hub denies something.
        """
        with denials_explained(self.repo, endpoint=self._api.endpoint):
            if STAGING not in self._refs()[1]:  # another machine published all that was staged, and removed the branch
                self._api.create_branch(self.repo, branch=STAGING, repo_type=_TYPE, exist_ok=True)
            if missing := self._unstaged(files):
                freed = [file for file in missing if file.content is None]
                copies = self._copies(freed, self._state_at(self._head()), _NOT_STAGED) if freed else []
                local = [file for file in missing if file.content is not None]
                self._commit_to_staging([*self._upload(local, STAGING, _NOT_STAGED), *copies], files)
                if lost := self._unstaged(files):
                    mend = "materialize it again"
                    findings = [Finding("is not what was sent", mend, path=file.path) for file in lost]
                    raise Refusal(_NOT_STAGED, findings)
            self._read_back(files[::_GROUP_FILES])

    def _commit_to_staging(self, operations: Sequence[Operation], files: Sequence[PublicationFile]) -> None:
        """Commit to the newest state of the staging branch. Concurrent machines stage different files."""
        message = f"Stage {counted(len(operations), 'shard')}"
        for tries_left in reversed(range(_COMMIT_TRIES)):
            try:
                self._create_commit(operations, STAGING, message)
                return
            except Exception as error:
                if not self._unstaged(files):  # the answer was lost, but the commit took effect
                    return
                if http_status(error) != _STALE_PARENT or not tries_left:
                    raise

    def _unstaged(self, files: Sequence[PublicationFile]) -> list[PublicationFile]:
        """Return those `files` that the staging branch lacks, or has with other bytes."""
        staged = self.files_at(STAGING)
        return [file for file in files if file.path not in staged or not staged[file.path].matches(file)]

    def _read_back(self, files: Sequence[PublicationFile]) -> None:
        """Raise `Refusal` unless the staging branch returns the recorded bytes of `files`."""
        staged = HubCommit(self._api, self.repo, self._commit_of(STAGING))
        if wrong := [file for file in files if digest_of(staged.file(file.path, file.size)) != file.sha256]:
            raise Refusal(_NOT_STAGED, [Finding(RETURNS_OTHER_BYTES, REPORT_TO_HUB, path=file.path) for file in wrong])

    def _copies(self, files: Sequence[PublicationFile], state: RepoState, headline: str) -> list[CommitOperationCopy]:
        """Return operations that copy freed `files` from `main`, from staging or from an earlier publication.

        Raises `Refusal` with the `headline` if the repo lacks one of them.
        """
        copies: list[CommitOperationCopy] = []
        left, staging = list(files), state.branches.get(STAGING)
        for commit in chain([state.head, *([staging] if staging else [])], self._own_revisions(state)):
            if not left:
                return copies
            stored = state.files if commit == state.head else self.files_at(commit)
            matching = {file.path for file in left if file.path in stored and stored[file.path].matches(file)}
            copies += [CommitOperationCopy(path, path, src_revision=commit) for path in sorted(matching)]
            left = [file for file in left if file.path not in matching]
        if left:
            mend = "remove its record in shards/records and materialize it again"
            problem = "is neither on this disk nor staged on the Hub, and in no publication there"
            raise Refusal(headline, [Finding(problem, mend, path=file.path) for file in left])
        return copies

    def _remove_staging(self, state: RepoState) -> None:
        """Remove the staging branch if other revisions hold all its data files.

        Else it stays: another machine may have staged and freed the rest, so there is no other copy.
        """
        if STAGING not in state.branches:
            return
        commit = state.branches[STAGING]
        left = {path: file for path, file in self.files_at(commit).items() if self.dataset.is_data(path)}
        earlier = (self.files_at(revision) for revision in chain(self._own_revisions(state), state.taken_over))
        for files in chain([state.files], earlier):
            left = without(left, files)
            if not left:
                break
        if left:
            count = counted(len(left), "of its files is", "of its files are")
            self.log(f"The branch {STAGING} stays: {count} in no publication: {name_some(sorted(left), 3)}")
        elif self._refs()[1].get(STAGING) == commit:  # else somebody has just staged more
            self._api.delete_branch(self.repo, branch=STAGING, repo_type=_TYPE)

    def _ensure_repo(self) -> RepoState:
        """Return the state of the repo, which is created if there is none.

        Raises `Refusal` if it should be private but is public.
        """
        try:
            info = self._api.repo_info(self.repo, repo_type=_TYPE)
        except RepositoryNotFoundError as error:
            if http_status(error) != 404:
                raise
            private = self.private or None  # None: the namespace's default
            self._api.create_repo(self.repo, repo_type=_TYPE, private=private, exist_ok=True)
            info = self._api.repo_info(self.repo, repo_type=_TYPE)
        if self.private and not info.private:
            problem, mend = "is public, and `private` is set", "leave `private` out, or make it private on the Hub"
            raise Refusal.of(_NOTHING_SENT, problem, mend, path=self.repo)
        return self._state_at(str(info.sha))

    def _state_at(self, head: str, files: Mapping[str, StoredFile] | None = None) -> RepoState:
        tags, branches = self._refs()
        return RepoState(head, self.files_at(head) if files is None else files, tags, branches)

    def _refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the commits of tags and of branches, by name."""
        refs = self._api.list_repo_refs(self.repo, repo_type=_TYPE)
        return {tag.name: tag.target_commit for tag in refs.tags}, {b.name: b.target_commit for b in refs.branches}

    def _own_revisions(self, state: RepoState) -> Iterator[str]:
        return own_revisions(self._api, self.repo, state)

    def _foreign_files(self, state: RepoState, publication: Publication | None) -> ForeignFiles | None:
        """Return somebody else's files in the repo; None if there are none."""
        revisions = self._own_revisions(state)
        published = (state.files if revision == state.head else self.files_at(revision) for revision in revisions)
        paths = foreign_paths(self.dataset, state, publication, published)
        return ForeignFiles(self.repo, state.head, paths) if paths else None

    def _take_over(self, publication: Publication, state: RepoState) -> str | None:
        """Tag `main` if it holds somebody else's files, so they can be replaced. Return the tag.

        Raises `Refusal` unless these files may be replaced.
        """
        foreign = self._foreign_files(state, publication)
        if foreign is None:
            return None
        foreign.check(self.take_over, _FOREIGN_FILES)
        tag = state.backup_tag()
        self._api.create_tag(self.repo, tag=tag, revision=state.head, repo_type=_TYPE, exist_ok=True)
        if (commit := self._refs()[0].get(tag)) != state.head:
            problem, mend = f"the tag {tag} is at {commit} by now, and not at {state.head}", "publish again"
            raise Refusal.of(_NOT_PUBLISHED, problem, mend, path=self.repo)
        return tag

    def _is_tagged(self, publication: Publication, state: RepoState) -> bool:
        """Return whether the tag of `publication` is at a revision that holds it.

        False also if that revision lost files, because somebody deleted objects from the Hub for good: it is to be
        tagged anew. Raises `Refusal` if the tag is at anything else.
        """
        tag = tag_of(publication)
        if tag not in state.tags:
            return False
        commit = state.tags[tag]
        changes = compare(publication, state.files if commit == state.head else self.files_at(commit))
        if changes.changed or changes.removed or CARD in (file.path for file in changes.added):
            problem = f"has the tag {tag} of this publication at {commit}, which holds something else"
            mend = "look at who has put it there; delete the tag on the Hub, and publish again"
            raise Refusal.of(_NOT_PUBLISHED, problem, mend, path=self.repo)
        return not changes.added

    def _tag(self, publication: Publication, state: RepoState, revision: str) -> str:
        """Tag `revision`, which holds `publication`, unless the tag is at one that does. Return the tag."""
        tag = tag_of(publication)
        if not self._is_tagged(publication, state):
            if tag in state.tags:
                self._api.delete_tag(self.repo, tag=tag, repo_type=_TYPE)
            self._api.create_tag(self.repo, tag=tag, revision=revision, repo_type=_TYPE, exist_ok=True)
        return tag

    def roll_back(self, to: str) -> Published:
        """Add a commit to `main` that holds what the tag or commit `to` holds. Sends no data.

        It also brings back somebody else's files that this dataset replaced.

        Raises:
            Refusal: There is no such revision, it holds no dataset, or somebody else moved `main` meanwhile.
        """
        with write_access(self._api, self.repo):
            base = revision = self._head()
            wanted, present = self._ours(self.files_at(to)), self._ours(self.files_at(base))
            if not any(self.dataset.is_data(path) for path in wanted):
                problem, mend = f"{to} holds no dataset", "name a revision that does, by the tag of a publication"
                raise Refusal.of("Not rolled back.", problem, mend, path=self.repo)
            changed = [path for path, file in wanted.items() if present.get(path) != file]
            copies = [CommitOperationCopy(path, path, src_revision=to) for path in changed]
            deletions = [CommitOperationDelete(path) for path in present if path not in wanted]
            if copies or deletions:
                message = f"Roll back to {to}"
                revision = self._commit(
                    [*copies, *deletions], message, base, lambda stored: self._ours(stored) == wanted
                )
            if self._ours(self.files_at(revision)) != wanted:
                raise Refusal(f"Revision {revision} of {self.repo} is not what {to} holds.")
            return Published(self._url(revision), revision, revision != base)

    def stored(self, local: Publication | None = None) -> Mapping[str, StoredFile]:
        """Return every file of the revision, with the digests that the Hub states."""
        with reading_explained(self.repo, self.revision):
            return self.files_at(self.revision)

    def pinned(self) -> "HuggingFaceHub":
        with reading_explained(self.repo, self.revision):
            try:
                return replace(self, revision=self._commit_of(self.revision))
            except RepositoryNotFoundError as error:
                if http_status(error) != 404:
                    raise
                return self

    def opened(self) -> HubCommit:
        with reading_explained(self.repo, self.revision):
            return HubCommit(self._api, self.repo, self._commit_of(self.revision))

    @property
    def load_options(self) -> Mapping[str, Any]:
        return {"revision": self.revision}

    def files_at(self, revision: str) -> Mapping[str, StoredFile]:
        """Return every file of `revision`, by path; empty if there is no repo.

        Raises:
            Refusal: There is no such revision.
        """
        try:
            entries = list(self._api.list_repo_tree(self.repo, recursive=True, revision=revision, repo_type=_TYPE))
        except RevisionNotFoundError as error:
            problem, mend = f"has no revision {revision}", "name a tag or commit of the repo"
            raise Refusal.of("There is no such revision.", problem, mend, path=self.repo) from error
        except RepositoryNotFoundError as error:
            if http_status(error) != 404:
                raise
            return {}
        return {
            entry.path: StoredFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def card(self) -> str:
        """Return the card's text. It is streamed: the client's own download would need room on this disk."""
        pinned = self.pinned()
        if (card := pinned.stored().get(CARD)) is None:
            raise Refusal.of("Nothing is published.", f"holds no {CARD}", "publish the dataset", path=self.repo)
        return b"".join(pinned.opened().file(CARD, card.size).read(0, card.size)).decode()

    def address(self) -> str:
        with reading_explained(self.repo, self.revision):
            return self._url(self._commit_of(self.revision))

    def _head(self) -> str:
        """Return the commit that `main` is at."""
        return self._commit_of(MAIN)

    def _commit_of(self, revision: str) -> str:
        return str(self._api.repo_info(self.repo, repo_type=_TYPE, revision=revision).sha)

    def _upload(self, files: Sequence[PublicationFile], branch: str, headline: str) -> list[CommitOperationAdd]:
        """Upload `files` group by group; the Hub keeps each group before the next begins.

        Raises `Refusal` with the `headline` if the bytes sent are not those that were recorded.
        """

        def upload(group: list[CommitOperationAdd]) -> None:
            with lack_of_room_explained(headline):
                self._api.preupload_lfs_files(self.repo, group, repo_type=_TYPE, revision=branch)

        additions: list[CommitOperationAdd] = []
        total = sum(file.size for file in files)
        by_lfs = not self._sends_by_xet(total)
        progress = Progress("file sent", len(files), self.log, size=total, plural="files sent")
        for group in groups_of(files):
            size = sum(file.size for file in group)
            with announced(f"Sending {counted(len(group), 'file')}, {readable_bytes(size)}", self.log):
                additions += send(group, self.dataset, upload, headline, by_lfs=by_lfs)
            progress.advance(size, len(group))
        return additions

    def _sends_by_xet(self, size: int) -> bool:
        """Return whether files go by Xet. If so, check its cache and bound its memory for `size` bytes."""
        if not (is_xet_available() and self.has_xet()):
            return False
        check_cache(size)
        limit_memory(size)
        return True

    def has_xet(self) -> bool:
        """Return whether the Hub stores by Xet. The client assumes so, and fails if it does not.

        Raises:
            HfHubHTTPError: The token may not write to the repo.
        """
        url = f"{self._api.endpoint}/api/{_TYPE}s/{self.repo}/xet-write-token/{MAIN}"
        response = http_backoff("GET", url, headers=build_hf_headers())
        if response.status_code == 404:
            return False
        hf_raise_for_status(response)  # shows a denial in the Hub's words, which `hf_xet` would lose
        return True

    def _commit(
        self,
        operations: Sequence[Operation],
        message: str,
        base: str,
        is_done: Callable[[Mapping[str, StoredFile]], bool],
        description: str = "",
    ) -> str:
        """Commit on top of `base` and return the new commit, even if the commit took effect but its answer was lost."""
        try:
            return self._create_commit(operations, MAIN, message, base, description)
        except Exception as error:
            head = self._head()
            if head == base:
                raise
            if is_done(self.files_at(head)):
                return head
            problem = f"`main` moved from {base} to {head} while this was under way"
            mend = "look at what was committed there, and run again: files that would be lost are named first"
            raise Refusal.of("Not published: somebody else did.", problem, mend, path=self.repo) from error

    def _create_commit(
        self,
        operations: Sequence[Operation],
        branch: str,
        message: str,
        base: str | None = None,
        description: str = "",
    ) -> str:
        """Commit and return the new commit, with `base` only on top of that. Wait if the Hub asks to."""
        create = partial(
            self._api.create_commit,
            self.repo,
            operations,
            commit_message=message,
            commit_description=description,
            repo_type=_TYPE,
            parent_commit=base,
            revision=branch,
        )
        return str(as_asked(create, self.log).oid)

    def _ours(self, stored: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
        return {path: file for path, file in stored.items() if self.dataset.is_ours(path)}

    def _url(self, revision: str) -> str:
        return without_secrets(f"{self._api.endpoint}/datasets/{self.repo}/tree/{revision}")


def groups_of(files: Sequence[PublicationFile]) -> Iterator[Sequence[PublicationFile]]:
    """Yield the groups in which `files` are uploaded."""
    start, size = 0, 0
    for number, file in enumerate(files):
        if number - start >= _GROUP_FILES and size + file.size > _GROUP_BYTES:
            yield files[start:number]
            start, size = number, 0
        size += file.size
    if files:
        yield files[start:]
