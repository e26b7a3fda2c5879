"""The server: what tests use."""

import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self
from unittest import mock

from huggingface_hub import close_session, constants
from huggingface_hub.utils._xet import abort_xet_session

import isles_assets_tests.hub_server.xet  # noqa: F401 - it adds its routes to those of `api`
from isles_assets_tests.hub_server import api
from isles_assets_tests.hub_server.cas import Cas, XetObject
from isles_assets_tests.hub_server.faults import Fault, How, hold
from isles_assets_tests.hub_server.http import Call, DroppedError, Listener, Record, RefusedError, Response, refusal
from isles_assets_tests.hub_server.store import Commit, File, RefMove, Repo, Store
from isles_assets_tests.hub_server.tokens import Token


class HubServer:
    """A Hub on 127.0.0.1 that serves inside its context.

    Leaving the context raises `AssertionError` if the server itself has failed, so no test passes by accident. The
    attributes `tokens`, `requests` and those of the sizes may be changed at any time.

    Args:
        root: Folder for large objects.
        tokens: Access tokens by their text.
        multipart_above: Size in bytes above which LFS sends a file in parts.
        part_size: Size of these parts in bytes.
        regular_up_to: Size in bytes up to which a file is no large one, unless `.gitattributes` says so.
        tree_page: Number of entries on a page of a listing.
        believes: Store an uploaded object without comparing its SHA-256 with the announced one.
        xet: Have Xet storage; clients with `hf_xet` upload and download by it.
        port: Port to listen on; 0 for any free one.
    """

    def __init__(
        self,
        root: Path,
        tokens: Mapping[str, Token] | None = None,
        *,
        multipart_above: int = 5_000_000_000,
        part_size: int = 16_000_000,
        regular_up_to: int = 10_000_000,
        tree_page: int = 1000,
        believes: bool = False,
        xet: bool = False,
        port: int = 0,
    ) -> None:
        self.store = Store(root, believes=believes)
        self.xet, self.cas = xet, Cas(root, believed=believes)
        self.tokens = dict(tokens or {})
        self.multipart_above, self.part_size = multipart_above, part_size
        self.regular_up_to = regular_up_to
        self.tree_page = tree_page
        self.default_visibility = "public"  # of a new repository whose creator names none
        self.requests: list[Record] = []
        self.stopping = threading.Event()
        self._faults: list[Fault] = []
        self._defects: list[str] = []
        self._working, self._changed = 0, threading.Condition()
        self._listener = Listener(self, port)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), name="hub", daemon=True)

    # Start and end

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.stopping.set()
        for fault in self._faults:
            fault.release()
        self._listener.stop()
        self._thread.join()
        strays = [f"{stray.method} {stray.path} was meant for another host" for stray in self.strays]
        if self._defects or strays:
            report = "\n".join(["the Hub server has failed:", *self._defects, *strays])
            if error is None:
                raise AssertionError(report)
            error.add_note(report)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.server_port}"

    def store_address(self, path: str) -> str:
        """Return a URL of the store behind Xet storage. It is another host, so clients send no token of the Hub."""
        return f"http://localhost:{self._listener.server_port}{path}"

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Return the environment of a process whose clients reach this Hub only.

        * `HF_ENDPOINT` is read when `huggingface_hub.constants` and `datasets.config` are imported.
        * `HF_HUB_DISABLE_XET`: with `hf_xet` installed the client uploads to Xet storage whatever the server offers
          (_commit_api.py: _upload_files). Only this variable, or file objects instead of paths, make it use LFS.
        * `HF_XET_CLIENT_RETRY_BASE_DELAY`: by default hf_xet gives up only after six minutes.
        * `HF_UPDATE_DOWNLOAD_COUNTS`: by default `load_dataset` reports each load to s3.amazonaws.com (load.py:
          increase_load_count).
        * `HF_HUB_DISABLE_TELEMETRY`: by default the first call requests `/api/agent-harnesses` of the Hub
          (utils/_headers.py, utils/_detect_agent.py). On a terminal a client may request it in any case.
        * The proxy: requests to other hosts arrive here, are refused, and are listed in `strays`.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        kept.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), self.endpoint))
        return {
            **kept,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "0" if self.xet else "1",
            **self._xet_environment(home),
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            **({"HF_TOKEN": token} if token else {}),
        }

    @contextmanager
    def clients(self, home: Path) -> Iterator[None]:
        """Let the clients of this process reach this Hub only.

        This sets what clients read when they are called. `datasets` reads some settings when it is imported
        (datasets/config.py): use `load_dataset` in another process, with `environment`.
        """
        wanted = self.environment(home)
        kept = {name: value for name, value in wanted.items() if not name.startswith("HF_")}
        kept |= self._xet_environment(home)
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, kept, clear=True))
            for name, value in {
                "ENDPOINT": self.endpoint,
                "HUGGINGFACE_CO_URL_TEMPLATE": self.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
                "HF_URL_HOSTS": constants.HF_URL_HOSTS | {"127.0.0.1"},
                "HF_HUB_CACHE": str(home / "hub"),
                "HF_TOKEN_PATH": str(home / "token"),
                "HF_HUB_DISABLE_XET": not self.xet,
                "HF_HUB_DISABLE_TELEMETRY": True,
            }.items():
                stack.enter_context(mock.patch.object(constants, name, value))
            for forget in (close_session, abort_xet_session):  # the next one reads the environment
                stack.callback(forget)
                forget()
            yield

    @staticmethod
    def _xet_environment(home: Path) -> dict[str, str]:
        """Return the variables that hf_xet reads when its session begins."""
        return {"HF_XET_CACHE": str(home / "xet"), "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms"}

    # Faults

    def fail(self, *, how: How, method: str = "*", path: str = "", times: int = 1, after: int = 0) -> Fault:
        """Let requests fail from now on. A request is hit by at most one fault: the oldest that matches.

        Args:
            how: The kind of fault.
            method: HTTP method; `*` for any.
            path: Regular expression, searched in path and query.
            times: Number of matching requests that are hit.
            after: Number of matching requests that pass before.
        """
        fault = Fault(method, re.compile(path), times, after, how)
        self._faults.append(fault)
        return fault

    def damage(self, repo: str, path: str, *, revision: str = "main", at: int = 0) -> None:
        """Flip a byte of a stored large file. The Hub still states its old SHA-256."""
        self.flip(self._commit(repo, revision).files[path].sha256, at)

    def flip(self, sha256: str, at: int) -> None:
        """Flip a byte of a large object, for clients of LFS and of Xet."""
        if self.cas.xet_hash(sha256) is None:
            self.store.objects.flip(sha256, at)
        else:
            self.cas.flip(sha256, at)

    # State

    def ref_moves(self, repo: str) -> list[RefMove]:
        """Return every move of a ref; the first one created the repository."""
        return list(self._repo(repo).moves)

    def head(self, repo: str, ref: str = "main") -> str:
        return self._commit(repo, ref).oid

    def files(self, repo: str, revision: str = "main") -> dict[str, tuple[int, str]]:
        """Return size and SHA-256 of every file, large or small, by path."""
        return {path: (file.size, file.sha256) for path, file in self._commit(repo, revision).files.items()}

    def content(self, repo: str, path: str, revision: str = "main") -> bytes:
        """Return the stored bytes of a file."""
        file = self._commit(repo, revision).files[path]
        return self.object_bytes(file.sha256) if file.content is None else file.content

    def stored_bytes(self) -> int:
        """Return the bytes of all large objects. Unfinished uploads do not count."""
        return self.store.objects.total() + self.cas.total()

    def stored(self, sha256: str) -> Path | XetObject:
        """Return a large object: the path of its bytes if they came by LFS."""
        is_of_lfs = self.cas.xet_hash(sha256) is None
        return self.store.objects.path(sha256) if is_of_lfs else XetObject(self.cas, sha256)

    def object_bytes(self, sha256: str) -> bytes:
        """Return the bytes of a large object."""
        there = self.stored(sha256)
        return there.read_bytes() if isinstance(there, Path) else there.read(range(len(there)))

    def forget(self, sha256: str) -> None:
        """Delete a large object for good."""
        if self.cas.xet_hash(sha256) is None:
            self.store.objects.path(sha256).unlink()
        else:
            self.cas.forget(sha256)

    @property
    def strays(self) -> list[Record]:
        """The requests to other hosts, except those to this Hub's Dataset Viewer."""
        viewer = api.viewer(self)
        return [record for record in self.requests if not record.path.startswith(("/", viewer))]

    # Acts of others

    def put_commit(
        self,
        repo: str,
        files: Mapping[str, bytes | Path | None],
        *,
        ref: str = "main",
        title: str = "put by the test",
        private: bool = False,
    ) -> str:
        """Commit files to a branch as another user, and return the commit. A missing repository is created.

        Args:
            files: Content by path; None deletes a file. A `Path` is that of a large file, which the store hard-links.
        """
        with self.store.lock:
            there = self.store.repos.get(repo) or self.store.create(repo, private=private, author="somebody")
            parent = self._commit(repo, ref)
            tree = dict(parent.files)
            for path, content in files.items():
                if content is None:
                    del tree[path]
                elif isinstance(content, Path):
                    tree[path] = self.store.objects.link(content)
                    there.objects.add(tree[path].sha256)
                elif api.is_large(self, parent.files, path, len(content)):
                    tree[path] = self.store.objects.put(content)
                    there.objects.add(tree[path].sha256)
                else:
                    tree[path] = File.inline(content)
            oid = there.commit(parent, tree, title, "", "somebody").oid
            there.move(f"refs/heads/{ref}", oid)
            return oid

    def quiet(self, timeout: float = 30) -> None:
        """Wait until no request is in progress, because a killed client may have left some.

        Raises:
            TimeoutError: Some are still in progress after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._working, timeout):
                raise TimeoutError(f"{self._working} requests are still in progress")

    # For the listener

    @contextmanager
    def at_work(self, record: Record) -> Iterator[None]:
        """Count a request as in progress, from its arrival to the last byte of its response."""
        with self._changed:
            self.requests.append(record)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def answer(self, call: Call) -> Response:
        """Return the response to a request; faults apply."""
        fault = next((fault for fault in list(self._faults) if fault.takes(call)), None)
        if fault is not None:
            if not isinstance(fault.how, hold):
                fault.arrive()
            if (early := fault.how.before(self, call, fault)) is not None:
                return early
        self._drop_if_stopping()
        try:
            response = api.respond(self, call)
        except RefusedError as refused:
            response = refused.response
        except (KeyError, ValueError, TypeError):
            self.keep_defect()
            response = refusal(500, "the Hub server has failed")
        if fault is not None:
            fault.how.after(self, call, response)
        self._drop_if_stopping()
        return response

    def _drop_if_stopping(self) -> None:
        """Drop the connection if the server was stopped while a fault held the request."""
        if self.stopping.is_set():
            raise DroppedError

    def keep_defect(self) -> None:
        """Keep the exception being handled, to fail the test at the end of the context."""
        self._defects.append("".join(traceback.format_exception(sys.exception())))

    def _repo(self, repo: str) -> Repo:
        return self.store.repos[repo]

    def _commit(self, repo: str, revision: str) -> Commit:
        commit = self._repo(repo).resolve(revision)
        if commit is None:
            raise KeyError(f"{repo} has no revision {revision}")
        return commit
