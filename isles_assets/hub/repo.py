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
"""Types of entities in a token's scopes that are a namespace or a repo, known by name."""


def check_repo_id(repo: str) -> None:
    """Raise `Refusal` unless `repo` is <owner>/<name> in a form that the Hub accepts."""
    try:
        validate_repo_id(repo)
        problem = "" if repo.count("/") == 1 else "has no owner"
    except HFValidationError as error:
        problem = str(error)
    if problem:
        mend = "set ISLES_HUB_REPO to <owner>/<name>, e.g. hugging-science/isles24-stroke"
        raise Refusal.of("The repo cannot be used.", problem, mend, path=repo or "ISLES_HUB_REPO")


@contextmanager
def write_access(api: HfApi, repo: str) -> Iterator[None]:
    """Check that the token may write to `repo`; then run the block and explain denials that it meets.

    Refuses only what is certain from the Hub's answer about the token. The Hub itself decides the rest, such as a role
    in a resource group.

    Raises:
        Refusal: The token may not write, or the Hub denies something inside the block.
    """
    headline, namespace = "Nothing was sent to the Hub.", repo.partition("/")[0]
    check_token(headline, is_needed=True)
    with denials_explained(repo, headline, api.endpoint):
        if problem := missing_right(_whoami(api), namespace, repo):
            mend = f"set HF_TOKEN to a token with write access to the repos of {namespace}"
            raise Refusal.of(headline, problem, mend, path=repo)
    with denials_explained(repo, endpoint=api.endpoint):
        yield


def _whoami(api: HfApi) -> Mapping[str, Any]:
    """Return the owner and the rights of the token; empty if the Hub cannot say now, which does not prevent writing."""
    try:
        return api.whoami()
    except HfHubHTTPError as error:
        denial = denial_of(error)
        if denial is None or not denial.may_pass:
            raise
        _LOG.warning("Could not check in advance whether the token may write: %s", denial)
        return {}


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status behind `error`, if any. The client raises `RepositoryNotFoundError` for a 401, too."""
    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else response.status_code


def missing_right(account: Mapping[str, Any], namespace: str, repo: str) -> str:
    """Return which right to write to `repo` the token certainly lacks; empty if it may have all.

    Only the token's own role and scopes are judged: the answer names all scopes, but maybe not all organizations, and
    a resource group may give a member other rights than the organization does.
    """
    token = account.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        return f"the token may only read: it lacks the right `repo.write` on {namespace}"
    if token.get("role") == "fineGrained" and "fineGrained" in token:
        rights = token["fineGrained"]
        scopes = [scope for scope in rights.get("scoped", []) if "repo.write" in scope.get("permissions", [])]
        if "repo.write" not in rights.get("global", []) and not any(_may_cover(s, namespace, repo) for s in scopes):
            return f"the fine-grained token lacks the right `repo.write` on {namespace}"
    return ""


def _may_cover(scope: Mapping[str, Any], namespace: str, repo: str) -> bool:
    """Return whether the entity of `scope` is `repo`, its namespace, or another one that may hold it."""
    entity = scope.get("entity", {})
    name = entity.get("name")
    if name is None or entity.get("type") not in _KNOWN_ENTITIES:
        return True
    return name.lower() in (namespace.lower(), repo.lower())
