"""The routes of the Hub: what clients request, and what they read of the responses.

A docstring that names a function means the one of huggingface_hub 2.4 that sends the request and reads the response.
"""

import base64
import fnmatch
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode

import yaml

from isles_assets_tests.hub_server.cas import XetObject
from isles_assets_tests.hub_server.http import Call, RefusedError, Response, answer, refusal
from isles_assets_tests.hub_server.store import MAIN, Commit, File, Repo, Upload, WrongBytesError
from isles_assets_tests.hub_server.tokens import Token

if TYPE_CHECKING:
    from isles_assets_tests.hub_server.server import HubServer

Route = Callable[..., Response]
Content = bytes | Path | XetObject
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []
REPO = r"(?P<repo_id>[^/]+/[^/]+?)"
API = f"/api/datasets/{REPO}"
BAD_CREDENTIALS = "Invalid credentials in Authorization header"
NO_SUCH_TRANSFER = "the address of this transfer is not valid, or not any more"


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """Let the decorated function answer requests whose path matches the pattern. The groups are its arguments."""

    def add(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return add


def respond(hub: "HubServer", call: Call) -> Response:
    """Return the response of the first route that matches the request."""
    if call.path.startswith(viewer(hub)):
        return refusal(404, "this Hub has no Dataset Viewer")
    if not call.path.startswith("/"):
        return refusal(502, f"a test may talk to this server only, not to {call.path}")
    for method, pattern, function in ROUTES:
        if call.method == method and (match := pattern.fullmatch(call.path)):
            return function(hub, call, **{name: unquote(value) for name, value in match.groupdict().items() if value})
    return refusal(404, f"no such route: {call.method} {call.path}")


def viewer(hub: "HubServer") -> str:
    """Return the Dataset Viewer's address. `load_dataset` needs no viewer (datasets/utils/_dataset_viewer.py)."""
    return hub.endpoint.replace("://", "://datasets-server.")


# Rights


def bearer(hub: "HubServer", call: Call) -> Token | None:
    """Return the token of the request, if it has one. An unknown or expired one is refused, even if none is needed.

    With another `X-Error-Message`, hf_raise_for_status takes a 401 for a missing repository (on https addresses; on
    loopback only `X-Error-Code` decides).
    """
    if call.record.token is None:
        return None
    token = hub.tokens.get(call.record.token)
    if token is None or token.expired:
        raise RefusedError(401, BAD_CREDENTIALS)
    return token


def user(hub: "HubServer", call: Call) -> Token:
    token = bearer(hub, call)
    if token is None:
        raise RefusedError(401, "Invalid username or password.")
    return token


def readable(hub: "HubServer", call: Call, repo_id: str) -> Repo:
    """Return the repository, if the request may see it. The Hub answers alike for hidden and missing ones."""
    token = bearer(hub, call)
    repo = hub.store.repos.get(repo_id)
    if repo is None or (repo.private and not (token and token.may_read(repo_id))):
        if token is None:
            raise RefusedError(401, "Invalid username or password.", "RepoNotFound")
        raise RefusedError(404, "Repository not found", "RepoNotFound")
    return repo


def writable(hub: "HubServer", call: Call, repo_id: str) -> Repo:
    token = user(hub, call)
    repo = readable(hub, call, repo_id)
    if not token.may_write(repo_id):
        if token.role == "read":
            raise RefusedError(403, "Forbidden: you must use a write token to upload to a repository.")
        raise RefusedError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    return repo


def at(repo: Repo, revision: str) -> Commit:
    commit = repo.resolve(revision)
    if commit is None:
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


@route("GET", "/api/whoami-v2")
def whoami(hub: "HubServer", call: Call) -> Response:
    """hf_api.py: whoami."""
    return answer(user(hub, call).whoami())


# Repositories


@route("POST", "/api/repos/create")
def create_repo(hub: "HubServer", call: Call) -> Response:
    """hf_api.py: create_repo. With `exist_ok` the client ignores a 409 and reads `url` of its body."""
    token, what = user(hub, call), call.body.json()
    if what.get("type") != "dataset":
        raise RefusedError(400, "this server has datasets only")
    namespace = what["organization"] or token.user
    repo_id = f"{namespace}/{what['name']}"
    url = {"url": f"{hub.endpoint}/datasets/{repo_id}", "name": repo_id}
    if not token.may_create(repo_id):
        raise RefusedError(403, f'You don\'t have the rights to create a dataset under the namespace "{namespace}"')
    with hub.store.lock:
        if repo_id in hub.store.repos:
            message = "You already created this dataset repo"
            return answer({"error": message, **url}, 409, {"X-Error-Message": message})
        visibility = what.get("visibility", hub.default_visibility)
        hub.store.create(repo_id, private=visibility == "private", author=token.user)
    return answer(url)


@route("DELETE", "/api/repos/delete")
def delete_repo(hub: "HubServer", call: Call) -> Response:
    """hf_api.py: delete_repo."""
    what = call.body.json()
    repo_id = f"{what['organization'] or user(hub, call).user}/{what['name']}"
    writable(hub, call, repo_id)
    del hub.store.repos[repo_id]
    return answer({})


@route("GET", f"{API}(?:/revision/(?P<revision>[^/]+))?")
def dataset_info(hub: "HubServer", call: Call, repo_id: str, revision: str | None = None) -> Response:
    """hf_api.py: dataset_info, which repo_info, repo_exists and revision_exists call.

    `blobs` adds sizes; `expand` names the only fields to return.
    """
    repo = readable(hub, call, repo_id)
    commit = at(repo, revision or "main")
    readme = commit.files.get("README.md")
    siblings = [{"rfilename": path} for path in sorted(commit.files)]
    if call.query.get("blobs") == "true":
        siblings = [{"rfilename": path, **_blob(file)} for path, file in sorted(commit.files.items())]
    info = {
        "id": repo_id,
        "author": repo_id.split("/")[0],
        "sha": commit.oid,
        "createdAt": _date(next(iter(repo.commits.values()))),
        "lastModified": _date(commit),
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": _front_matter(readme.content.decode()) if readme and readme.content else None,
        "siblings": siblings,
        "usedStorage": sum(size_of(hub.stored(sha256)) for sha256 in tuple(repo.objects)),
    }
    expand = {"id", *call.multiple("expand")}
    return answer({key: value for key, value in info.items() if len(expand) == 1 or key in expand})


def _blob(file: File) -> dict[str, Any]:
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return {"size": file.size, "blobId": file.blob_id} | ({"lfs": lfs} if file.is_lfs else {})


def _date(commit: Commit) -> str:
    """Return the date in the format of utils/_datetime.py: parse_datetime."""
    return commit.date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _front_matter(text: str) -> Any:
    match = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    return yaml.safe_load(match[1]) if match else None


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: "HubServer", call: Call) -> Response:
    """hf_api.py: _validate_yaml, which create_commit calls for a README.md: errors raise there, warnings warn."""
    try:
        metadata = _front_matter(call.body.json()["content"])
    except yaml.YAMLError as error:
        return answer({"errors": [{"message": str(error)}], "warnings": []}, 400)
    missing = [] if metadata else [{"message": "empty or missing yaml metadata in repo card"}]
    return answer({"errors": [], "warnings": missing})


# Refs


@route("GET", f"{API}/refs")
def refs(hub: "HubServer", call: Call, repo_id: str) -> Response:
    """hf_api.py: list_repo_refs."""
    repo = readable(hub, call, repo_id)
    listed: dict[str, list[dict[str, str]]] = {"heads": [], "tags": []}
    with hub.store.lock:
        for ref, oid in repo.refs.items():
            _, kind, name = ref.split("/", 2)
            listed[kind].append({"name": name, "ref": ref, "targetCommit": oid})
    return answer({"branches": listed["heads"], "tags": listed["tags"], "converts": [], "pullRequests": []})


@route("POST", f"{API}/branch/(?P<branch>[^/]+)")
def create_branch(hub: "HubServer", call: Call, repo_id: str, branch: str) -> Response:
    """hf_api.py: create_branch. With `exist_ok` the client ignores a 409."""
    repo, what = writable(hub, call, repo_id), call.body.json()
    if branch.startswith("refs/"):
        raise RefusedError(400, f"Invalid reference for a branch: {branch}")
    with hub.store.lock:
        start = at(repo, what.get("startingPoint", "main"))
        if f"refs/heads/{branch}" in repo.refs:
            raise RefusedError(409, f"Reference already exists: refs/heads/{branch}")
        repo.move(f"refs/heads/{branch}", start.oid)
    return answer({})


@route("DELETE", f"{API}/branch/(?P<branch>[^/]+)")
def delete_branch(hub: "HubServer", call: Call, repo_id: str, branch: str) -> Response:
    """hf_api.py: delete_branch."""
    repo, ref = writable(hub, call, repo_id), f"refs/heads/{branch}"
    if ref == MAIN:
        raise RefusedError(403, f"Cannot delete {ref}")
    with hub.store.lock:
        if ref not in repo.refs:
            raise RefusedError(404, f"Reference does not exist: {ref}")
        repo.move(ref, None)
    return answer({})


@route("POST", f"{API}/tag/(?P<revision>[^/]+)")
def create_tag(hub: "HubServer", call: Call, repo_id: str, revision: str) -> Response:
    """hf_api.py: create_tag. The path has the revision, the body the name. `exist_ok` ignores a 409."""
    repo, what = writable(hub, call, repo_id), call.body.json()
    ref = f"refs/tags/{what['tag']}"
    with hub.store.lock:
        target = at(repo, revision)
        if ref in repo.refs:
            raise RefusedError(409, f"Tag reference exists already: {ref}")
        repo.move(ref, target.oid)
    return answer({})


@route("DELETE", f"{API}/tag/(?P<tag>[^/]+)")
def delete_tag(hub: "HubServer", call: Call, repo_id: str, tag: str) -> Response:
    """hf_api.py: delete_tag."""
    repo, ref = writable(hub, call, repo_id), f"refs/tags/{tag}"
    with hub.store.lock:
        if ref not in repo.refs:
            raise RefusedError(404, f"Invalid rev id: {tag}", "RevisionNotFound")
        repo.move(ref, None)
    return answer({})


# Trees


@route("GET", f"{API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
def tree(hub: "HubServer", call: Call, repo_id: str, revision: str, folder: str | None = None) -> Response:
    """hf_api.py: _iter_repo_tree_pages (list_repo_tree, HfFileSystem); the next page is in the header `Link`."""
    commit = at(readable(hub, call, repo_id), revision)
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    inside = [path[len(prefix) :] for path in commit.files if path.startswith(prefix)]
    if folder and not inside:
        raise RefusedError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    expand = call.query.get("expand") == "true"
    if call.query.get("recursive") == "true":
        names = {name.rsplit("/", depth)[0] for name in inside for depth in range(name.count("/") + 1)}
    else:
        names = {name.split("/")[0] for name in inside}
    paths = [prefix + name for name in sorted(names)]
    size = min(hub.tree_page, 50) if expand else hub.tree_page
    return _page(hub, call, [_entry(hub, commit, path, expand=expand) for path in paths], size)


@route("POST", f"{API}/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: "HubServer", call: Call, repo_id: str, revision: str) -> Response:
    """hf_api.py: get_paths_info, which sends a form; paths that do not exist are left out."""
    commit = at(readable(hub, call, repo_id), revision)
    form = parse_qsl(call.body.read().decode())
    expand = ("expand", "true") in form
    paths = [value.strip("/") for name, value in form if name == "paths"]
    if len(paths) > 1000:
        raise RefusedError(413, "too many parameters")  # _commit_api.py: FETCH_LFS_BATCH_SIZE
    return answer([_entry(hub, commit, path, expand=expand) for path in paths if commit.entry(path) is not None])


def _entry(hub: "HubServer", commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """Return the fields that hf_api.py: RepoFile and RepoFolder read."""
    match commit.entry(path):
        case File() as file:
            entry: dict[str, Any] = {"type": "file", "path": path, "oid": file.blob_id, "size": file.size}
            if file.is_lfs:
                entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
                if (xet_hash := hub.cas.xet_hash(file.sha256)) is not None:
                    entry["xetHash"] = xet_hash
        case oid:
            entry = {"type": "directory", "path": path, "oid": oid, "size": 0}
    if expand:
        last = commit.last_changed(path)
        entry["lastCommit"] = {"id": last.oid, "title": last.title, "date": _date(last)}
    return entry


@route("GET", f"{API}/commits/(?P<revision>[^/]+)")
def list_commits(hub: "HubServer", call: Call, repo_id: str, revision: str) -> Response:
    """hf_api.py: list_repo_commits."""
    history = at(readable(hub, call, repo_id), revision).history()
    listed = [
        {
            "id": one.oid,
            "title": one.title,
            "message": one.message,
            "authors": [{"user": one.author}],
            "date": _date(one),
        }
        for one in history
    ]
    return _page(hub, call, listed, 50)


def _page(hub: "HubServer", call: Call, items: list[Any], size: int) -> Response:
    """Return one page, with the address of the next (utils/_pagination.py)."""
    start = int(call.query.get("cursor", "0"))
    headers = {}
    if start + size < len(items):
        following = urlencode({**call.query, "cursor": str(start + size)})
        headers["Link"] = f'<{hub.endpoint}{call.target.split("?")[0]}?{following}>; rel="next"'
    return answer(items[start : start + size], headers=headers)


# Uploads


def is_large(hub: "HubServer", files: Mapping[str, File], path: str, size: int) -> bool:
    """Return whether a file goes to LFS: `.gitattributes` of the revision says so, or it is too large for git."""
    attributes = files.get(".gitattributes")
    lines = attributes.content.decode().splitlines() if attributes and attributes.content else []
    patterns = [line.split()[0] for line in lines if "filter=lfs" in line]
    name = path.rsplit("/", 1)[-1]
    return size > hub.regular_up_to or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


@route("POST", f"{API}/preupload/(?P<revision>[^/]+)")
def preupload(hub: "HubServer", call: Call, repo_id: str, revision: str) -> Response:
    """_commit_api.py: _fetch_upload_modes. `oid` is that of the revision's present file.

    hf_api.py: create_commit leaves out an addition with an equal `oid`: the SHA-256 of a large file, git's id of a
    small one (CommitOperationAdd._local_oid). If no operation is left, it sends no commit.
    """
    commit = at(writable(hub, call, repo_id), revision)

    def mode(file: dict[str, Any]) -> dict[str, Any]:
        there = commit.files.get(file["path"])
        oid = there and (there.sha256 if there.is_lfs else there.blob_id)
        large = is_large(hub, commit.files, file["path"], file["size"])
        return {
            "path": file["path"],
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
            **({"oid": oid} if oid else {}),
        }

    return answer({"files": [mode(file) for file in call.body.json()["files"]], "commitOid": commit.oid})


@route("POST", rf"/datasets/{REPO}\.git/info/lfs/objects/batch")
def lfs_batch(hub: "HubServer", call: Call, repo_id: str) -> Response:
    """lfs.py: post_lfs_batch_info. For an object without `actions` lfs_upload sends nothing.

    Objects belong to a repository, as on the Hub: those of another repository must be sent again.
    """
    repo, what = writable(hub, call, repo_id), call.body.json()
    objects = []
    for wanted in what["objects"]:
        said = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in repo.objects:
            said["actions"] = _actions(hub, repo, wanted["oid"], wanted["size"])
        objects.append(said)
    kind = "multipart" if any(wanted["size"] > hub.multipart_above for wanted in what["objects"]) else "basic"
    headers = {"Content-Type": "application/vnd.git-lfs+json"}
    return answer({"transfer": kind, "objects": objects, "hash_algo": "sha256"}, headers=headers)


def _actions(hub: "HubServer", repo: Repo, oid: str, size: int) -> dict[str, Any]:
    """Return where to send an object: by one PUT, or by one PUT for each part and a POST that completes them.

    lfs.py: lfs_upload takes `chunk_size` in the upload's header as the sign of a multipart transfer, and the numbered
    fields as the addresses of its parts. It then posts to `verify`.
    """
    upload = uuid.uuid4().hex
    hub.store.uploads[upload] = Upload(repo, oid, size, {})
    transfer = f"{hub.endpoint}/transfer/{upload}"
    action: dict[str, Any] = {"href": transfer}
    if size > hub.multipart_above:
        parts = {f"{n + 1:05}": f"{transfer}/{n + 1}" for n in range(-(-size // hub.part_size))}
        action = {"href": f"{transfer}/complete", "header": {"chunk_size": str(hub.part_size), **parts}}
    return {
        "upload": action,
        "verify": {"href": f"{hub.endpoint}/datasets/{repo.repo_id}.git/info/lfs/objects/verify"},
    }


@route("PUT", "/transfer/(?P<upload>[0-9a-f]+)")
def put_object(hub: "HubServer", call: Call, upload: str) -> Response:
    """lfs.py: _upload_single_part. It sends no token, because the address grants the upload, as on S3."""
    arrived = hub.store.objects.incoming()
    going = hub.store.uploads.get(upload)
    if going is None:
        raise RefusedError(403, NO_SUCH_TRANSFER)
    call.body.save(arrived)
    _accept(hub, call, going, [arrived])
    return Response(200, headers={"ETag": f'"{going.sha256}"'})


@route("PUT", "/transfer/(?P<upload>[0-9a-f]+)/(?P<number>[0-9]+)")
def put_part(hub: "HubServer", call: Call, upload: str, number: str) -> Response:
    """lfs.py: _upload_parts_iteratively, one part after the other. The completion returns every `ETag`."""
    going = hub.store.uploads.get(upload)
    if going is None:
        raise RefusedError(403, NO_SUCH_TRANSFER)
    arrived = hub.store.objects.incoming()
    call.body.save(arrived)
    going.parts[int(number)] = arrived
    return Response(200, headers={"ETag": f'"{arrived.name}"'})


@route("POST", "/transfer/(?P<upload>[0-9a-f]+)/complete")
def complete(hub: "HubServer", call: Call, upload: str) -> Response:
    """lfs.py: _upload_multi_part, after the last part. It sends no token either."""
    going = hub.store.uploads.get(upload)
    if going is None:
        raise RefusedError(403, NO_SUCH_TRANSFER)
    named = {part["partNumber"]: part["etag"].strip('"') for part in call.body.json()["parts"]}
    if named != {number: path.name for number, path in going.parts.items()}:
        raise RefusedError(400, "the parts named are not those that arrived")
    _accept(hub, call, going, [going.parts[number] for number in sorted(going.parts)])
    return answer({})


def _accept(hub: "HubServer", call: Call, going: Upload, arrived: list[Any]) -> None:
    try:
        hub.store.objects.accept(arrived, going.sha256, going.size)
    except WrongBytesError as wrong:
        raise RefusedError(400, f"BadDigest: {wrong}") from None
    going.repo.objects.add(going.sha256)
    call.stored = [going.sha256]


@route("POST", rf"/datasets/{REPO}\.git/info/lfs/objects/verify")
def lfs_verify(hub: "HubServer", call: Call, repo_id: str) -> Response:
    """lfs.py: lfs_upload, after the bytes were sent. It sends the token again."""
    repo, what = writable(hub, call, repo_id), call.body.json()
    if what["oid"] not in repo.objects:
        raise RefusedError(404, f"object {what['oid']} is not in the storage")
    return answer({})


@route("GET", f"{API}/lfs-files")
def lfs_files(hub: "HubServer", call: Call, repo_id: str) -> Response:
    """hf_api.py: list_lfs_files."""
    repo = writable(hub, call, repo_id)
    names = {file.sha256: path for commit in tuple(repo.commits.values()) for path, file in commit.files.items()}
    listed = [
        {
            "fileOid": oid,
            "filename": names.get(oid, ""),
            "oid": oid,
            "pushedAt": _date(next(iter(repo.commits.values()))),
            "ref": "main",
            "size": size_of(hub.stored(oid)),
        }
        for oid in sorted(repo.objects)
    ]
    return answer(listed)


@route("POST", f"{API}/lfs-files/batch")
def delete_lfs_files(hub: "HubServer", call: Call, repo_id: str) -> Response:
    """hf_api.py: permanently_delete_lfs_files. It always rewrites the history, so no commit keeps the files."""
    repo, gone = writable(hub, call, repo_id), set(call.body.json()["deletions"]["sha"])
    with hub.store.lock:
        for oid in gone:
            repo.objects.remove(oid)
            hub.forget(oid)
        for oid, commit in repo.commits.items():
            left = {path: file for path, file in commit.files.items() if not (file.is_lfs and file.sha256 in gone)}
            repo.commits[oid] = replace(commit, files=left)
    return answer({})


@route("POST", f"{API}/commit/(?P<revision>[^/]+)")
def make_commit(hub: "HubServer", call: Call, repo_id: str, revision: str) -> Response:
    """_commit_api.py: _send_commit. A commit is atomic, and one is made at a time.

    The body is a line of JSON for each operation after the header (_prepare_commit_payload). A copy of a large file
    comes as `lfsFile` without a size; a copy of a small one was downloaded by the client and comes as `file`.
    """
    repo = writable(hub, call, repo_id)
    lines = [json.loads(line) for line in call.body.read().splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    operations = [(line["key"], line["value"]) for line in lines if line["key"] != "header"]
    if call.query.get("create_pr"):
        raise RefusedError(400, "this server has no pull requests")
    if not header.get("summary"):
        raise RefusedError(400, '"value.summary" is not allowed to be empty')
    with hub.store.lock:
        ref = f"refs/heads/{revision}"
        if ref not in repo.refs:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        parent = at(repo, ref)
        if header.get("parentCommit") not in (None, parent.oid):
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(parent.files)
        for key, value in operations:
            _apply(hub, repo, files, key, value)
        new = repo.commit(parent, files, header["summary"], header.get("description", ""), user(hub, call).user)
        repo.move(ref, new.oid)
    url = f"{hub.endpoint}/datasets/{repo_id}/commit/{new.oid}"
    return answer({"success": True, "commitOid": new.oid, "commitUrl": url, "hookOutput": ""})


def _apply(hub: "HubServer", repo: Repo, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    """Apply one operation of a commit to a tree."""
    path = value["path"]
    match key:
        case "file":
            files[path] = File.inline(base64.b64decode(value["content"]))
        case "lfsFile":
            if value["oid"] not in repo.objects:
                raise RefusedError(
                    400,
                    "Your push was rejected because an LFS pointer pointed to a file that does not exist. For instance,"
                    f" this can happen if you used git push --no-verify to push your changes. Offending file: - {path}",
                )
            files[path] = File(size_of(hub.stored(value["oid"])), value["oid"])
        case "deletedFile" if path in files:
            del files[path]
        case "deletedFolder" if below := [name for name in files if name.startswith(f"{path.rstrip('/')}/")]:
            for name in below:
                del files[name]
        case "deletedFile" | "deletedFolder":
            raise RefusedError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        case _:
            raise RefusedError(400, f"unknown operation {key}")


# Downloads


@route("GET", f"/datasets/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
@route("HEAD", f"/datasets/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(hub: "HubServer", call: Call, repo_id: str, revision: str, path: str) -> Response:
    """Return a file, or the requested range of it.

    file_download.py: get_hf_file_metadata reads `X-Repo-Commit`, `X-Linked-Etag` or `ETag`, and `X-Linked-Size` or
    `Content-Length` of the response to HEAD. Like the Hub, this server redirects large files to a store with a signed
    address, if it has Xet storage; otherwise it sends them itself. A client with hf_xet uses the hash and the link to a
    token instead (utils/_xet.py: parse_xet_file_data_from_response).
    """
    repo = readable(hub, call, repo_id)
    commit = at(repo, revision)
    file = commit.files.get(path)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if file is None:
        raise RefusedError(404, f"{path} does not exist on {revision}", "EntryNotFound", headers)
    etag = file.sha256 if file.is_lfs else file.blob_id
    headers |= {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}
    if file.content is not None:
        return piece(call, file.content, headers)
    headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(file.size)}
    if not hub.xet:
        return piece(call, hub.stored(file.sha256), headers)
    if (xet_hash := hub.cas.xet_hash(file.sha256)) is not None:
        refresh = f"{hub.endpoint}/api/datasets/{repo_id}/xet-read-token/{commit.oid}"
        headers |= {"X-Xet-Hash": xet_hash, "Link": f'<{refresh}>; rel="xet-auth"'}
    address = hub.store_address(hub.cas.sign(f"/xet-store/objects/{file.sha256}"))
    return Response(302, f"Found. Redirecting to {address}".encode(), headers | {"Location": address})


def piece(call: Call, content: Content, headers: Mapping[str, str]) -> Response:
    """Return a response with the content, or with the requested range of it."""
    size = size_of(content)
    start, length, status, extra = 0, size, 200, dict(headers)
    if (wanted := byte_range(call.record.range, size)) is not None:
        start, length, status = wanted.start, len(wanted), 206
        if not length:
            raise RefusedError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
        extra["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    match content:
        case Path():
            return Response(status, (content, start, length), extra)
        case XetObject():
            return Response(status, content.read(range(start, start + length)), extra)
        case _:
            return Response(status, content[start : start + length], extra)


def size_of(content: Content) -> int:
    """Return the bytes of the content."""
    return content.stat().st_size if isinstance(content, Path) else len(content)


def byte_range(header: str | None, size: int) -> range | None:
    """Return the bytes that a `Range` header requests, empty if there are none; None without a valid header."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.replace(" ", "")) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return range(max(size - int(match[2]), 0), size)
    return range(int(match[1]), min(int(match[2]) + 1 if match[2] else size, size))
