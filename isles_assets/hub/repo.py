"""Names of dataset repos, and who may write to them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from isles_assets.lib.findings import Refusal

DENIED = (401, 403)
_WRITING_ROLES = ("admin", "write", "contributor")


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
    """Write to `repo` inside the block. Raises `Refusal` unless the client's token may, or while `denials_explained`.

    It says which right on which namespace is missing. The Hub is asked who the token is of, and sent no more for that.
    """
    namespace = repo.partition("/")[0]
    try:
        problem = _missing_right(api.whoami(), namespace, repo)
    except LocalTokenNotFoundError:
        problem = "there is no token"
    except HfHubHTTPError as error:
        if status_of(error) not in DENIED:
            raise
        problem = "the Hub does not accept the token: it is wrong, revoked or expired"
    if problem:
        mend = f"set HF_TOKEN to a token with write access to the repos of {namespace}"
        raise Refusal.of("Nothing was sent to the Hub.", problem, mend, path=repo)
    with denials_explained(repo):
        yield


@contextmanager
def denials_explained(repo: str) -> Iterator[None]:
    """Turn the Hub's refusal of the token in the middle of the work into a `Refusal`; nothing sent is lost."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if status_of(cause) in DENIED:
                problem = f"the Hub stopped accepting the token ({status_of(cause)})"
                mend = f"set HF_TOKEN to a token with write access to {repo}; publish again, which resumes"
                raise Refusal.of("Not published.", problem, mend, path=repo) from error
            cause = cause.__cause__
        raise


def status_of(error: BaseException) -> int | None:
    """The HTTP status that `error` is about, if any; the client's class alone can say 404 for a 401."""
    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else response.status_code


def _missing_right(who: Mapping[str, Any], namespace: str, repo: str) -> str:
    """What the token lacks to write to `repo`; empty if nothing that can be seen."""
    user = who["name"]
    roles = {org["name"]: org.get("roleInOrg") for org in who.get("orgs", [])}
    if namespace != user and namespace not in roles:
        return f"{user} is no member of {namespace}"
    if namespace != user and roles[namespace] is not None and roles[namespace] not in _WRITING_ROLES:
        return f"{user} has the role `{roles[namespace]}` in {namespace}, which may not write"
    token = who.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        return f"the token may only read: it lacks the right `repo.write` on {namespace}"
    if token.get("role") == "fineGrained":
        scopes = token.get("fineGrained", {}).get("scoped", [])
        granted = {scope["entity"].get("name"): scope.get("permissions", []) for scope in scopes}
        if not any("repo.write" in granted.get(entity, []) for entity in (namespace, repo)):
            return f"the fine-grained token lacks the right `repo.write` on {namespace}"
    return ""
