"""Names of dataset repos, and who may write to them."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from isles_assets.hub.denials import check_token, denial_of, denials_explained
from isles_assets.lib.findings import Refusal

_LOG = logging.getLogger(__name__)

_KNOWN_ENTITIES = ("user", "org", "model", "dataset", "space")
"""Kinds of entities of a token's scopes that are what they are called: a namespace or a repo."""


def check_repo_id(repo: str) -> None:
    """Raise `Refusal` unless `repo` is <owner>/<name> as the Hub takes it."""
    try:
        validate_repo_id(repo)
        problem = "" if repo.count("/") == 1 else "has no owner"
    except HFValidationError as error:
        problem = str(error)
    if problem:
        mend = "set ISLES_HUB_REPO to <owner>/<name>, e.g. hugging-science/isles24-stroke"
        raise Refusal.of("The repo cannot be used.", problem, mend, path=repo or "ISLES_HUB_REPO")


@contextmanager
def writing(api: HfApi, repo: str) -> Iterator[None]:
    """Write to `repo` inside the block. Raises `Refusal` if the client's token cannot, or while `denials_explained`.

    Only what is certain is refused here: the Hub is asked who the token is of, and sent no more for that. What the
    answer does not tell, such as a role in a resource group, the Hub decides.
    """
    headline, namespace = "Nothing was sent to the Hub.", repo.partition("/")[0]
    check_token(headline, is_needed=True)
    with denials_explained(repo, headline, api.endpoint):
        if problem := _missing_right(_who(api), namespace, repo):
            mend = f"set HF_TOKEN to a token with write access to the repos of {namespace}"
            raise Refusal.of(headline, problem, mend, path=repo)
    with denials_explained(repo, endpoint=api.endpoint):
        yield


def _who(api: HfApi) -> Mapping[str, Any]:
    """Whose token it is and what it may do; empty if the Hub does not say now, which it need not to be written to."""
    try:
        return api.whoami()
    except HfHubHTTPError as error:
        denial = denial_of(error)
        if denial is None or not denial.may_pass:
            raise
        _LOG.warning("Not known beforehand whether the token may write: %s", denial)
        return {}


def status_of(error: BaseException) -> int | None:
    """The HTTP status that `error` is about, if any; the client's class alone can say 404 for a 401."""
    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else response.status_code


def _missing_right(who: Mapping[str, Any], namespace: str, repo: str) -> str:
    """Which right to write to `repo` the token has not for sure; empty if it may have all.

    A member of an organization may have other rights in a resource group than by the role there, and an answer need not
    name all organizations. A token's scopes are all named, an entity more than once if it was added so.
    """
    token = who.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        return f"the token may only read: it lacks the right `repo.write` on {namespace}"
    if token.get("role") == "fineGrained" and "fineGrained" in token:
        rights = token["fineGrained"]
        scopes = [scope for scope in rights.get("scoped", []) if "repo.write" in scope.get("permissions", [])]
        if "repo.write" not in rights.get("global", []) and not any(_may_cover(s, namespace, repo) for s in scopes):
            return f"the fine-grained token lacks the right `repo.write` on {namespace}"
    return ""


def _may_cover(scope: Mapping[str, Any], namespace: str, repo: str) -> bool:
    """Whether the entity of `scope` is `repo` or its namespace, or one that may hold it, as a resource group may."""
    entity = scope.get("entity", {})
    name = entity.get("name")
    if name is None or entity.get("type") not in _KNOWN_ENTITIES:
        return True
    return name.lower() in (namespace.lower(), repo.lower())
