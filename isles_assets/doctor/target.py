"""Where the dataset is published: whose the token is and what it may do, and what is in the repo."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import DatasetInfo
from huggingface_hub.utils._runtime import is_xet_available

from isles_assets.doctor.folder import bytes_of_shards
from isles_assets.doctor.lines import Line, Status, Topic, fine, lines_of
from isles_assets.hub.denials import check_token, denials_explained
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.local import LocalHub
from isles_assets.hub.repo import http_status, missing_right
from isles_assets.hub.xet import cache_folder, check_cache
from isles_assets.lib.files import free_space
from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.threads import NoAnswerError, answer_within
from isles_assets.settings.setup import Setup

_HEADLINE = "The Hub was asked."
_PATIENCE = 10.0
"""Seconds for each question to the Hub."""

_WRITES = ("admin", "write")
_CREATES = ("admin", "write", "contributor")
_DATASET = "dataset"


def target_lines(setup: Setup, take_over: str = "") -> Iterator[Line]:
    """Yield whether the target can be published to.

    Args:
        take_over: The commit of somebody else's files that the publication is to replace.
    """
    try:
        target = setup.target(take_over=take_over)
    except Refusal as refusal:
        yield from lines_of(Topic.TARGET, Status.BLOCKER, refusal)
        return
    if isinstance(target, LocalHub):
        yield _of_folder(target)
    elif isinstance(target, HuggingFaceHub):
        yield from _of_hub(setup, target)


def _of_folder(target: LocalHub) -> Line:
    if target.folder.exists() and not target.folder.is_symlink():
        return Line(Topic.TARGET, Status.BLOCKER, f"{target.folder} is a folder of somebody else's", "move it away")
    held = "holds a publication" if target.folder.exists() else "nothing is published there yet"
    return fine(Topic.TARGET, f"the folder {target.folder}: {held}")


def _of_hub(setup: Setup, target: HuggingFaceHub) -> Iterator[Line]:
    """Ask the Hub one question after the other. A question that blocks ends it, because the others need its answer."""
    if setup.uses_sample:
        mend = "set `allow_synthetic: true` in the run config, for a rehearsal"
        yield Line(Topic.TARGET, Status.NOTE, "a synthetic sample does not go to the Hub unless that is allowed", mend)
    api = HfApi(endpoint=target.endpoint, library_name="isles-assets")
    try:
        account = _asked(lambda: _account(api, target.repo), target)
        yield from _rights(account, target.repo)
        info = _asked(lambda: _info(api, target.repo), target)
        if info is None:
            yield fine(Topic.TARGET, f"{target.page} does not exist, or is not shown to this token: it will be made")
        else:
            yield _state(info, target)
            if foreign := _asked(lambda: target.in_the_way(None), target):
                status = Status.NOTE if target.take_over == info.sha else Status.BLOCKER
                yield from (Line(Topic.TARGET, status, finding.without_mend(), finding.mend) for finding in foreign)
            else:
                yield fine(Topic.TARGET, "the repo holds no file of somebody else's in our places")
            yield _way(_asked(target.has_xet, target))
    except Refusal as refusal:
        yield from lines_of(Topic.TARGET, Status.BLOCKER, refusal)
        return
    if is_xet_available():
        yield from _cache(setup)


def _asked(question: Any, target: HuggingFaceHub) -> Any:
    """Return the answer to a question to the Hub.

    Raises:
        Refusal: The Hub denies, or does not answer in time.
    """

    def ask() -> Any:
        with denials_explained(target.repo, _HEADLINE, target.endpoint):
            return question()

    try:
        return answer_within(_PATIENCE, ask)
    except NoAnswerError as error:
        mend = "check network, proxies and HF_ENDPOINT"
        raise Refusal.of(_HEADLINE, f"the Hub gives no answer: {error}", mend, path=target.page) from None


def _account(api: HfApi, repo: str) -> Mapping[str, Any]:
    check_token(_HEADLINE, is_needed=True)
    account: Mapping[str, Any] = api.whoami()
    if problem := missing_right(account, repo.partition("/")[0], repo):
        mend = f"set HF_TOKEN to a token with write access to the repos of {repo.partition('/')[0]}"
        raise Refusal.of(_HEADLINE, problem, mend, path=repo)
    return account


def _rights(account: Mapping[str, Any], repo: str) -> Iterator[Line]:
    """Yield whose the token is, and which role its owner has in the namespace of `repo`."""
    namespace, name = repo.partition("/")[0], str(account.get("name"))
    roles = {str(org.get("name")): str(org.get("roleInOrg", "")) for org in account.get("orgs", [])}
    kind = account.get("auth", {}).get("accessToken", {}).get("role", "unknown")
    who = f"the token is {name}'s, of kind `{kind}`"
    if namespace == name:
        yield fine(Topic.TARGET, f"{who}; {repo} is in their namespace")
        return
    role = roles.get(namespace, "")
    if role in _CREATES:
        yield fine(Topic.TARGET, f"{who}, who is `{role}` in {namespace}")
    if role not in _WRITES:
        known = f"is `{role}` in {namespace}" if role else f"is in no {namespace} that the Hub names"
        what = f"{who}, who {known}: the right to write has to come from a resource group, or from having made the repo"
        yield Line(Topic.TARGET, Status.NOTE, what, f"ask an admin of {namespace}; a pilot shows it")


def _info(api: HfApi, repo: str) -> DatasetInfo | None:
    try:
        return api.dataset_info(repo)
    except RepositoryNotFoundError as error:
        if http_status(error) != 404:
            raise
        return None


def _state(info: DatasetInfo, target: HuggingFaceHub) -> Line:
    group = (info.resource_group or {}).get("name")
    parts = ["private" if info.private else "public", *(["disabled"] if info.disabled else [])]
    parts += [f"in the resource group {group}"] if group else []
    what = f"{target.page} is {', '.join(parts)}; `main` is at {info.sha}"
    if info.disabled:
        return Line(Topic.TARGET, Status.BLOCKER, what, "ask the Hub why")
    return fine(Topic.TARGET, what)


def _way(has_xet: bool) -> Line:
    """Return how files will go. The Hub grants that question only to those who may write, by whichever way."""
    if has_xet and not is_xet_available():
        what = "the Hub grants writing; files go by LFS, because hf_xet is missing or switched off"
        return Line(Topic.TARGET, Status.NOTE, what, "install hf_xet, and unset HF_HUB_DISABLE_XET")
    if has_xet:
        return fine(Topic.TARGET, "the Hub grants writing; files go by Xet")
    return fine(Topic.TARGET, "files go by LFS: the repo has no Xet storage")


def _cache(setup: Setup) -> Iterator[Line]:
    folder: Path = cache_folder()
    try:
        check_cache(bytes_of_shards(setup), make=False)
    except Refusal as refusal:
        yield from lines_of(Topic.TARGET, Status.BLOCKER, refusal)
        return
    yield fine(
        Topic.TARGET, f"the cache of Xet, {folder}, can be written to: {readable_bytes(free_space(folder))} free"
    )
