"""The Hugging Face Hub as target: files first, where no reader sees them, then one commit, then a look at the result.

The token is the one that `huggingface_hub` finds by itself (`HF_TOKEN` or a login); it is never held here. Requests
are retried by the client alone.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session
from huggingface_hub.utils._runtime import is_xet_available

from isles_assets.hub.changes import RETURNS_OTHERS, STORE, StoredFile, compare, differences
from isles_assets.hub.reading import HubCommit, digest_of
from isles_assets.hub.repo import check_repo_id, denials_explained, status_of, writing
from isles_assets.hub.sending import send
from isles_assets.hub.target import Destination, Published, Target
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress
from isles_assets.products.config import CARD
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

MAIN = "main"
STAGING = "staging"
_TYPE = "dataset"
_GROUP = 10
"""Files that are uploaded together: what a break can cost, and how often progress is told."""
_NOT_STAGED = "Staging failed; nothing was freed."


@dataclass(frozen=True)
class HuggingFaceHub(Target):
    """The repo of `dataset` at `endpoint` (None: `HF_ENDPOINT`), made `private` or not if need be; `say` is told.

    `revision` is what is read of it; `main` is what is written.
    """

    is_public = True
    states_digests = True

    repo: str
    dataset: Dataset
    private: bool = False
    endpoint: str | None = None
    revision: str = MAIN
    say: Callable[[str], None] = field(default=logging.getLogger(__name__).info, repr=False)

    def __post_init__(self) -> None:
        check_repo_id(self.repo)

    @classmethod
    def at(cls, destination: Destination) -> "HuggingFaceHub":
        return cls(destination.repo, destination.dataset, destination.private, say=destination.say)

    @property
    def _api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, library_name="isles-assets")

    @property
    def location(self) -> str:
        return self.repo

    def publish(self, publication: Publication) -> Published:
        """Move `main` once, from the revision that is there to one that holds `publication`, and tag it.

        Files that the Hub has are not sent again, also after a break. Raises `Refusal` if the token may not write,
        if somebody else moved `main` meanwhile, or if the published files are not the local ones. What the client
        raises for a Hub that does not answer is passed on; publishing again resumes.
        """
        with writing(self._api, self.repo):
            self._api.create_repo(self.repo, repo_type=_TYPE, private=self.private, exist_ok=True)
            base = revision = self._head()
            changes = compare(publication, self.files_at(base))
            if changes:
                copies = self._copies([file for file in changes.files if file.content is None])
                here = [file for file in changes.files if file.content is not None]
                additions = self._upload(here, MAIN, "Not published.")
                deletions = [CommitOperationDelete(path) for path in changes.removed]
                release = self.dataset.release
                message = f"{release.label} {release.version}: {len(publication.subjects)} subjects"
                operations: list[Operation] = [*additions, *copies, *deletions]
                revision = self._commit(operations, message, base, lambda stored: not compare(publication, stored))
            if wrong := differences(publication, self.files_at(revision)):
                raise Refusal(f"Revision {revision} of {self.repo} is not what was to be published.", wrong)
            tag = tag_of(publication)
            self._api.create_tag(self.repo, tag=tag, revision=revision, repo_type=_TYPE, exist_ok=True)
            if self._has_staging():
                self._api.delete_branch(self.repo, branch=STAGING, repo_type=_TYPE)
            return Published(self._url(revision), revision, bool(changes), changes, tag)

    def prepare_staging(self) -> None:
        """Make the repo and its staging branch, where they are not there. Raises `Refusal` as `publish` does."""
        with writing(self._api, self.repo):
            self._api.create_repo(self.repo, repo_type=_TYPE, private=self.private, exist_ok=True)
            self._api.create_branch(self.repo, branch=STAGING, repo_type=_TYPE, exist_ok=True)

    def stage(self, files: Sequence[PublicationFile]) -> None:
        """Put `files` on the staging branch, where readers of `main` do not see them, in one commit.

        On return the Hub has them: it states the sizes and digests that they have here, those that were sent were seen
        to have them while they were, and of each ten one was read back from there. What is staged already is not sent
        again.
        """
        with denials_explained(self.repo):
            if missing := self._unstaged(files):
                additions = self._upload(missing, STAGING, _NOT_STAGED)
                self._commit_to_staging(additions, files)
                if lost := self._unstaged(files):
                    mend = "materialize it again"
                    findings = [Finding("is not what was sent", mend, path=file.path) for file in lost]
                    raise Refusal(_NOT_STAGED, findings)
            self._read_back([group[0] for group in _groups(files)])

    def _commit_to_staging(self, additions: Sequence[CommitOperationAdd], files: Sequence[PublicationFile]) -> None:
        message = f"Stage {len(additions)} shards"
        try:
            self._api.create_commit(self.repo, additions, commit_message=message, repo_type=_TYPE, revision=STAGING)
        except Exception:
            if self._unstaged(files):  # else the answer was lost, but the commit took effect
                raise

    def _read_back(self, files: Sequence[PublicationFile]) -> None:
        """Raise `Refusal` unless the bytes of `files` come back from the staging branch."""
        staged = HubCommit(self._api, self.repo, self._commit_of(STAGING))
        if wrong := [file for file in files if digest_of(staged.file(file.path, file.size)) != file.sha256]:
            raise Refusal(_NOT_STAGED, [Finding(RETURNS_OTHERS, STORE, path=file.path) for file in wrong])

    def _copies(self, files: Sequence[PublicationFile]) -> list[CommitOperationCopy]:
        """Operations that bring freed shards from the staging branch. Raises `Refusal` naming any that is not there."""
        if not files:
            return []
        if lost := self._unstaged(files):
            mend = "remove its record in shards/records and materialize it again"
            findings = [Finding("is neither on this disk nor staged on the Hub", mend, path=file.path) for file in lost]
            raise Refusal("Not published.", findings)
        return [CommitOperationCopy(file.path, file.path, src_revision=STAGING) for file in files]

    def _unstaged(self, files: Sequence[PublicationFile]) -> list[PublicationFile]:
        """Those of `files` that the staging branch, if there is one, does not hold as they are."""
        staged = self.files_at(STAGING) if self._has_staging() else {}
        return [file for file in files if file.path not in staged or not staged[file.path].holds(file)]

    def _has_staging(self) -> bool:
        refs = self._api.list_repo_refs(self.repo, repo_type=_TYPE)
        return any(branch.name == STAGING for branch in refs.branches)

    def roll_back(self, to: str) -> Published:
        """Move `main` once, to a new commit that holds what the tag or commit `to` holds. Sends no data.

        Raises `Refusal` if there is no such revision, or if somebody else moved `main` meanwhile.
        """
        with writing(self._api, self.repo):
            base = revision = self._head()
            wanted, there = self._ours(self.files_at(to)), self._ours(self.files_at(base))
            copies = [CommitOperationCopy(p, p, src_revision=to) for p, file in wanted.items() if there.get(p) != file]
            deletions = [CommitOperationDelete(path) for path in there if path not in wanted]
            if copies or deletions:
                message = f"Roll back to {to}"
                revision = self._commit([*copies, *deletions], message, base, lambda now: self._ours(now) == wanted)
            if self._ours(self.files_at(revision)) != wanted:
                raise Refusal(f"Revision {revision} of {self.repo} is not what {to} holds.")
            return Published(self._url(revision), revision, revision != base)

    def stored(self, known: Publication | None = None) -> Mapping[str, StoredFile]:
        """Every file of the revision, with the digests that the Hub states."""
        return self.files_at(self.revision)

    def pinned(self) -> "HuggingFaceHub":
        try:
            return replace(self, revision=self._commit_of(self.revision))
        except RepositoryNotFoundError as error:
            if status_of(error) != 404:
                raise
            return self

    def opened(self) -> HubCommit:
        return HubCommit(self._api, self.repo, self._commit_of(self.revision))

    @property
    def load_options(self) -> Mapping[str, Any]:
        return {"revision": self.revision}

    def files_at(self, revision: str) -> Mapping[str, StoredFile]:
        """Every file of `revision`; empty if there is no such repo. Raises `Refusal` if there is no such revision."""
        try:
            entries = list(self._api.list_repo_tree(self.repo, recursive=True, revision=revision, repo_type=_TYPE))
        except RevisionNotFoundError as error:
            problem, mend = f"has no revision {revision}", "name a tag or commit of the repo"
            raise Refusal.of("There is no such revision.", problem, mend, path=self.repo) from error
        except RepositoryNotFoundError as error:
            if status_of(error) != 404:
                raise
            return {}
        return {
            entry.path: StoredFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def card(self) -> str:
        try:
            path = self._api.hf_hub_download(self.repo, CARD, repo_type=_TYPE, revision=self._commit_of(self.revision))
        except HfHubHTTPError as error:
            problem, mend = f"holds no {CARD}", "publish the dataset"
            raise Refusal.of("Nothing is published.", problem, mend, path=self.repo) from error
        return Path(path).read_text()

    def address(self) -> str:
        return self._url(self._commit_of(self.revision))

    def _head(self) -> str:
        """The commit that `main` is at."""
        return self._commit_of(MAIN)

    def _commit_of(self, revision: str) -> str:
        return str(self._api.repo_info(self.repo, repo_type=_TYPE, revision=revision).sha)

    def _upload(self, files: Sequence[PublicationFile], branch: str, refused: str) -> list[CommitOperationAdd]:
        """Send the files, group by group; each group is on the Hub for good before the next.

        Raises `Refusal` with the headline `refused` if the bytes that were sent are not those of the record.
        """

        def upload(group: list[CommitOperationAdd]) -> None:
            self._api.preupload_lfs_files(self.repo, group, repo_type=_TYPE, revision=branch)

        additions: list[CommitOperationAdd] = []
        by_lfs = not (is_xet_available() and self._has_xet())
        progress = Progress("files", len(files), self.say)
        for group in _groups(files):
            additions += send(group, self.dataset, upload, refused, by_lfs=by_lfs)
            for file in group:
                progress.advance(file.size)
        return additions

    def _has_xet(self) -> bool:
        """Whether the Hub stores by Xet. The client takes that for granted and fails at a Hub that does not."""
        url = f"{self._api.endpoint}/api/{_TYPE}s/{self.repo}/xet-write-token/{MAIN}"
        return bool(get_session().get(url, headers=build_hf_headers()).status_code != 404)

    def _commit(
        self,
        operations: Sequence[Operation],
        message: str,
        base: str,
        is_done: Callable[[Mapping[str, StoredFile]], bool],
    ) -> str:
        """Commit on top of `base`; the new commit. An answer may be lost although the commit took effect."""
        try:
            commit = self._api.create_commit(
                self.repo, operations, commit_message=message, repo_type=_TYPE, parent_commit=base, revision=MAIN
            )
            return str(commit.oid)
        except Exception as error:
            head = self._head()
            if head == base:
                raise
            if is_done(self.files_at(head)):
                return head
            problem = f"`main` moved from {base} to {head} while this was under way"
            mend = "look at what was committed there; publish again to replace it"
            raise Refusal.of("Not published: somebody else did.", problem, mend, path=self.repo) from error

    def _ours(self, stored: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
        return {path: file for path, file in stored.items() if self.dataset.is_ours(path)}

    def _url(self, revision: str) -> str:
        return f"{self._api.endpoint}/datasets/{self.repo}/tree/{revision}"


def tag_of(publication: Publication) -> str:
    """The tag of a publication: release and digest, so that equal content has one tag."""
    return f"{publication.dataset.release.version}-{publication.digest[:12]}"


def _groups(files: Sequence[PublicationFile]) -> list[Sequence[PublicationFile]]:
    return [files[start : start + _GROUP] for start in range(0, len(files), _GROUP)]
