"""The Hugging Face Hub as target: files first, where no reader sees them, then one commit, then a look at the result.

The token is the one that `huggingface_hub` finds by itself (`HF_TOKEN` or a login); it is never held here. Requests
are retried by the client; a commit, which it tries once, is tried again by us where the Hub asks to wait.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff
from huggingface_hub.utils._runtime import is_xet_available

from isles_assets.hub.changes import RETURNS_OTHERS, STORE, StoredFile, compare, differences
from isles_assets.hub.denials import as_asked, denials_explained
from isles_assets.hub.ownership import (
    Found,
    Others,
    description_of,
    own_revisions,
    paths_of_others,
    tag_of,
    without,
)
from isles_assets.hub.reading import HubCommit, digest_of, reading_explained
from isles_assets.hub.repo import check_repo_id, status_of, writing
from isles_assets.hub.sending import send
from isles_assets.hub.target import Destination, Published, Target
from isles_assets.hub.xet import check_cache, lack_of_room_explained, limit_memory
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import Progress
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
_GROUP = 10
"""Files that are uploaded together at least: what a break can cost, and how often progress is told."""
_SMALL = 1 << 28
"""Bytes up to which more files than that are uploaded together: each group costs some requests."""
_OVERTAKEN = 412
"""What the Hub answers to a commit if there was another one while it was made."""
_TRIES = 5
_NOT_PUBLISHED = "Not published."
_NOTHING_SENT = "Nothing was sent to the Hub."
_SOMEBODY_ELSES = "Nothing was sent to the Hub: the repo holds somebody else's files."
_NOT_STAGED = "Staging failed; nothing was freed."


@dataclass(frozen=True)
class HuggingFaceHub(Target):
    """The repo of `dataset` at `endpoint` (None: `HF_ENDPOINT`), to be `private` if that is set; `log` is told.

    `revision` is what is read of it; `main` is what is written. Somebody else's files are replaced only if `take_over`
    is the commit that they are at.
    """

    is_public = True
    states_digests = True

    repo: str
    dataset: Dataset
    private: bool = False
    take_over: str = ""
    endpoint: str | None = None
    revision: str = MAIN
    log: Callable[[str], None] = field(default=logging.getLogger(__name__).info, repr=False)

    def __post_init__(self) -> None:
        check_repo_id(self.repo)

    @classmethod
    def at(cls, destination: Destination) -> "HuggingFaceHub":
        given = destination
        return cls(given.repo, given.dataset, given.private, given.take_over, log=given.log)

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
        """Move `main` once, from the revision that is there to one that holds `publication`, and tag it.

        Files that the Hub has are not sent again, also after a break. Raises `Refusal` if the token may not write, if
        the repo is somebody else's or public though it should not be, if somebody else moved `main` meanwhile, or if
        the published files are not the local ones; `MayPass` if the Hub does not answer. Publishing again resumes.
        """
        with writing(self._api, self.repo):
            found = self._found()
            self._is_tagged(publication, found)  # or it is refused before anything is sent
            before = self._take_over(publication, found)
            revision, changes = found.head, compare(publication, found.files)
            if changes:
                copies = self._copies([file for file in changes.files if file.content is None], found, _NOT_PUBLISHED)
                here = [file for file in changes.files if file.content is not None]
                additions = self._upload(here, MAIN, _NOT_PUBLISHED)
                deletions = [CommitOperationDelete(path) for path in changes.removed]
                release = self.dataset.release
                title = f"{release.label} {release.version}: {counted(len(publication.subjects), 'subject')}"
                operations: list[Operation] = [*additions, *copies, *deletions]
                revision = self._commit(
                    operations,
                    title,
                    found.head,
                    lambda stored: not compare(publication, stored),
                    description_of(publication),
                )
            stored = self.files_at(revision) if changes else found.files
            if wrong := differences(publication, stored):
                raise Refusal(f"Revision {revision} of {self.repo} is not what was to be published.", wrong)
            tag = self._tag(publication, found, revision)
            now = self._found_at(revision, stored)
            self._is_tagged(publication, now)  # or somebody else has given it meanwhile
            self._remove_staging(now)
            return Published(self._url(revision), revision, bool(changes), changes, tag, before)

    def in_the_way(self, publication: Publication) -> Sequence[Finding]:
        with denials_explained(self.repo, "The Hub was not asked.", self._api.endpoint):
            try:
                info = self._api.repo_info(self.repo, repo_type=_TYPE)
                others = self._others(self._found_at(str(info.sha)), publication)
            except RepositoryNotFoundError:  # or it may not be seen without a token
                return []
        return [others.finding] if others else []

    def prepare_staging(self) -> None:
        """Make the repo and its staging branch, where they are not there. Raises `Refusal` as `publish` does."""
        with writing(self._api, self.repo):
            found = self._found()
            if others := self._others(found, None):
                others.check(self.take_over, _SOMEBODY_ELSES)
            self._sends_by_xet(0)  # or it is refused before anything is made
            self._api.create_branch(self.repo, branch=STAGING, repo_type=_TYPE, exist_ok=True)

    def stage(self, files: Sequence[PublicationFile]) -> None:
        """Put `files` on the staging branch, where readers of `main` do not see them, in one commit.

        On return the Hub has them: it states the sizes and digests that they have here, those that were sent were seen
        to have them while they were, and of each ten one was read back from there. What is staged already is not sent
        again, nor what is not here because it was freed before; that is copied to the branch from where it is.
        """
        with denials_explained(self.repo, endpoint=self._api.endpoint):
            if STAGING not in self._refs()[1]:  # another machine has published all that was there, and removed it
                self._api.create_branch(self.repo, branch=STAGING, repo_type=_TYPE, exist_ok=True)
            if missing := self._unstaged(files):
                freed = [file for file in missing if file.content is None]
                copies = self._copies(freed, self._found_at(self._head()), _NOT_STAGED) if freed else []
                here = [file for file in missing if file.content is not None]
                self._commit_to_staging([*self._upload(here, STAGING, _NOT_STAGED), *copies], files)
                if lost := self._unstaged(files):
                    mend = "materialize it again"
                    findings = [Finding("is not what was sent", mend, path=file.path) for file in lost]
                    raise Refusal(_NOT_STAGED, findings)
            self._read_back(files[::_GROUP])

    def _commit_to_staging(self, operations: Sequence[Operation], files: Sequence[PublicationFile]) -> None:
        """Commit on top of what is there by then: machines that stage at the same time have files of their own."""
        message = f"Stage {counted(len(operations), 'shard')}"
        for tries_left in reversed(range(_TRIES)):
            try:
                self._create_commit(operations, STAGING, message)
                return
            except Exception as error:
                if not self._unstaged(files):  # the answer was lost, but the commit took effect
                    return
                if status_of(error) != _OVERTAKEN or not tries_left:
                    raise

    def _unstaged(self, files: Sequence[PublicationFile]) -> list[PublicationFile]:
        """Those of `files` that the staging branch does not hold as they are."""
        staged = self.files_at(STAGING)
        return [file for file in files if file.path not in staged or not staged[file.path].holds(file)]

    def _read_back(self, files: Sequence[PublicationFile]) -> None:
        """Raise `Refusal` unless the bytes of `files` come back from the staging branch."""
        staged = HubCommit(self._api, self.repo, self._commit_of(STAGING))
        if wrong := [file for file in files if digest_of(staged.file(file.path, file.size)) != file.sha256]:
            raise Refusal(_NOT_STAGED, [Finding(RETURNS_OTHERS, STORE, path=file.path) for file in wrong])

    def _copies(self, files: Sequence[PublicationFile], found: Found, refused: str) -> list[CommitOperationCopy]:
        """Operations that bring freed `files` from wherever in the repo they are: `main`, staging, what we published.

        Raises `Refusal` with the headline `refused`, naming those that are nowhere.
        """
        copies: list[CommitOperationCopy] = []
        left, staging = list(files), found.branches.get(STAGING)
        for commit in itertools.chain([found.head, *([staging] if staging else [])], self._own_revisions(found)):
            if not left:
                return copies
            there = found.files if commit == found.head else self.files_at(commit)
            held = {file.path for file in left if file.path in there and there[file.path].holds(file)}
            copies += [CommitOperationCopy(path, path, src_revision=commit) for path in sorted(held)]
            left = [file for file in left if file.path not in held]
        if left:
            mend = "remove its record in shards/records and materialize it again"
            problem = "is neither on this disk nor staged on the Hub, and in no publication there"
            raise Refusal(refused, [Finding(problem, mend, path=file.path) for file in left])
        return copies

    def _remove_staging(self, found: Found) -> None:
        """Remove the staging branch once `main`, or what was there before, holds every data file that it holds.

        What is left was staged by another machine, which has freed it: there is no other copy.
        """
        if STAGING not in found.branches:
            return
        commit = found.branches[STAGING]
        left = {path: file for path, file in self.files_at(commit).items() if self.dataset.is_data(path)}
        held = (self.files_at(each) for each in itertools.chain(self._own_revisions(found), found.taken_over))
        for files in itertools.chain([found.files], held):
            left = without(left, files)
            if not left:
                break
        if left:
            some = name_some(sorted(left), 3)
            those = counted(len(left), "of its files is", "of its files are")
            self.log(f"The branch {STAGING} stays: {those} in no publication: {some}")
        elif self._refs()[1].get(STAGING) == commit:  # else something was staged while we looked
            self._api.delete_branch(self.repo, branch=STAGING, repo_type=_TYPE)

    def _found(self) -> Found:
        """The repo as it is, made if it is not there. Raises `Refusal` if it should be private and is not."""
        try:
            info = self._api.repo_info(self.repo, repo_type=_TYPE)
        except RepositoryNotFoundError as error:
            if status_of(error) != 404:
                raise
            private = self.private or None  # None: as the namespace has it
            self._api.create_repo(self.repo, repo_type=_TYPE, private=private, exist_ok=True)
            info = self._api.repo_info(self.repo, repo_type=_TYPE)
        if self.private and not info.private:
            problem, mend = "is public, and `private` is set", "leave `private` out, or make it private on the Hub"
            raise Refusal.of(_NOTHING_SENT, problem, mend, path=self.repo)
        return self._found_at(str(info.sha))

    def _found_at(self, head: str, files: Mapping[str, StoredFile] | None = None) -> Found:
        tags, branches = self._refs()
        return Found(head, self.files_at(head) if files is None else files, tags, branches)

    def _refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """The commits of tags and of branches, by name."""
        refs = self._api.list_repo_refs(self.repo, repo_type=_TYPE)
        return {tag.name: tag.target_commit for tag in refs.tags}, {b.name: b.target_commit for b in refs.branches}

    def _own_revisions(self, found: Found) -> Iterator[str]:
        return own_revisions(self._api, self.repo, found)

    def _others(self, found: Found, publication: Publication | None) -> Others | None:
        """What of the repo is somebody else's; None if nothing is."""
        ours = (found.files if each == found.head else self.files_at(each) for each in self._own_revisions(found))
        paths = paths_of_others(self.dataset, found, publication, ours)
        return Others(self.repo, found.head, paths) if paths else None

    def _take_over(self, publication: Publication, found: Found) -> str | None:
        """Tag what is somebody else's, so that it can be replaced; the tag, None if nothing is. Raises `Refusal`."""
        others = self._others(found, publication)
        if others is None:
            return None
        others.check(self.take_over, _SOMEBODY_ELSES)
        tag = found.tag_before()
        self._api.create_tag(self.repo, tag=tag, revision=found.head, repo_type=_TYPE, exist_ok=True)
        if (commit := self._refs()[0].get(tag)) != found.head:
            problem, mend = f"the tag {tag} is at {commit} by now, and not at {found.head}", "publish again"
            raise Refusal.of(_NOT_PUBLISHED, problem, mend, path=self.repo)
        return tag

    def _is_tagged(self, publication: Publication, found: Found) -> bool:
        """Whether the tag of `publication` is at a revision that holds it.

        If objects were deleted from the Hub for good it is at one that holds what is left of it, and is to be given
        anew. Raises `Refusal` if it is at anything else.
        """
        tag = tag_of(publication)
        if tag not in found.tags:
            return False
        commit = found.tags[tag]
        there = compare(publication, found.files if commit == found.head else self.files_at(commit))
        if there.changed or there.removed or CARD in (file.path for file in there.added):
            problem = f"has the tag {tag} of this publication at {commit}, which holds something else"
            mend = "look at who has put it there; delete the tag on the Hub, and publish again"
            raise Refusal.of(_NOT_PUBLISHED, problem, mend, path=self.repo)
        return not there.added

    def _tag(self, publication: Publication, found: Found, revision: str) -> str:
        """Tag `revision`, which holds `publication`, unless another one is that does; the tag."""
        tag = tag_of(publication)
        if not self._is_tagged(publication, found):
            if tag in found.tags:
                self._api.delete_tag(self.repo, tag=tag, repo_type=_TYPE)
            self._api.create_tag(self.repo, tag=tag, revision=revision, repo_type=_TYPE, exist_ok=True)
        return tag

    def roll_back(self, to: str) -> Published:
        """Move `main` once, to a new commit that holds what the tag or commit `to` holds. Sends no data.

        What somebody else had there before this dataset took its place is restored just so. Raises `Refusal` if there
        is no such revision, if it holds no dataset, or if somebody else moved `main` meanwhile.
        """
        with writing(self._api, self.repo):
            base = revision = self._head()
            wanted, there = self._ours(self.files_at(to)), self._ours(self.files_at(base))
            if not any(self.dataset.is_data(path) for path in wanted):
                problem, mend = f"{to} holds no dataset", "name a revision that does, by the tag of a publication"
                raise Refusal.of("Not rolled back.", problem, mend, path=self.repo)
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
        with reading_explained(self.repo, self.revision):
            return self.files_at(self.revision)

    def pinned(self) -> "HuggingFaceHub":
        with reading_explained(self.repo, self.revision):
            try:
                return replace(self, revision=self._commit_of(self.revision))
            except RepositoryNotFoundError as error:
                if status_of(error) != 404:
                    raise
                return self

    def opened(self) -> HubCommit:
        with reading_explained(self.repo, self.revision):
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
        """As it comes back: the client's own download would need room for it on this disk."""
        pinned = self.pinned()
        if (found := pinned.stored().get(CARD)) is None:
            raise Refusal.of("Nothing is published.", f"holds no {CARD}", "publish the dataset", path=self.repo)
        return b"".join(pinned.opened().file(CARD, found.size).read(0, found.size)).decode()

    def address(self) -> str:
        with reading_explained(self.repo, self.revision):
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
            with lack_of_room_explained(refused):
                self._api.preupload_lfs_files(self.repo, group, repo_type=_TYPE, revision=branch)

        additions: list[CommitOperationAdd] = []
        by_lfs = not self._sends_by_xet(sum(file.size for file in files))
        progress = Progress("file", len(files), self.log)
        for group in groups_of(files):
            additions += send(group, self.dataset, upload, refused, by_lfs=by_lfs)
            for file in group:
                progress.advance(file.size)
        return additions

    def _sends_by_xet(self, size: int) -> bool:
        """Whether files go by Xet, which is then made ready for `size` bytes: room on this disk, and bounded memory."""
        if not (is_xet_available() and self._has_xet()):
            return False
        check_cache(size)
        limit_memory(size)
        return True

    def _has_xet(self) -> bool:
        """Whether the Hub stores by Xet. The client takes that for granted and fails at a Hub that does not."""
        url = f"{self._api.endpoint}/api/{_TYPE}s/{self.repo}/xet-write-token/{MAIN}"
        response = http_backoff("GET", url, headers=build_hf_headers())
        if response.status_code == 404:
            return False
        hf_raise_for_status(response)  # a denial, in the Hub's words: of one that `hf_xet` meets they are lost
        return True

    def _commit(
        self,
        operations: Sequence[Operation],
        message: str,
        base: str,
        is_done: Callable[[Mapping[str, StoredFile]], bool],
        description: str = "",
    ) -> str:
        """Commit on top of `base`; the new commit. An answer may be lost although the commit took effect."""
        try:
            return self._create_commit(operations, MAIN, message, base, description)
        except Exception as error:
            head = self._head()
            if head == base:
                raise
            if is_done(self.files_at(head)):
                return head
            problem = f"`main` moved from {base} to {head} while this was under way"
            mend = "look at what was committed there, and run again: if it would be lost by that, it is named first"
            raise Refusal.of("Not published: somebody else did.", problem, mend, path=self.repo) from error

    def _create_commit(
        self,
        operations: Sequence[Operation],
        branch: str,
        message: str,
        base: str | None = None,
        description: str = "",
    ) -> str:
        """Commit, if asked for only on top of `base`; the new commit. The Hub is waited for if it asks for that."""
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
    """`files` as they are uploaded together."""
    start, size = 0, 0
    for number, file in enumerate(files):
        if number - start >= _GROUP and size + file.size > _SMALL:
            yield files[start:number]
            start, size = number, 0
        size += file.size
    if files:
        yield files[start:]
