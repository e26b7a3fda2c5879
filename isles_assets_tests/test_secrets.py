"""Secrets of addresses and tokens: what is taken out of texts, exceptions and records, and that a run tells none."""

import io
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from isles_assets.lib.secrets import keep_secrets_out_of_logs, remove_secrets, without_secrets
from isles_assets_tests.hub_server import HubServer, Token, status
from isles_assets_tests.hub_server.faults import How
from isles_assets_tests.processes import REPOSITORY, free_port, python, shown

SIGNED = "https://store.example/bucket/0e?X-Amz-Credential=me&X-Amz-Signature=5ecret51gnature"

HARMLESS = "hf_raise_for_status in hf_xet; what? x = 1; a@b.example"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"PUT '{SIGNED}' failed", "PUT 'https://store.example/bucket/0e?***' failed"),
        ("with url: /bucket/0e?sig=a%2Fb (Caused by x)", "with url: /bucket/0e?*** (Caused by x)"),
        ("https://ada:pass@mirror.example/api", "https://***@mirror.example/api"),
        ("http://ada:p@ss@mirror.example:80/api?x=1", "http://***@mirror.example:80/api?***"),
        ("Authorization: Bearer hf_abc, X", "Authorization: *** ***, X"),
        ("[(b'X-Xet-Access-Token', b'eyJh.b.c'), (b'A', b'b')]", "[(b'X-Xet-Access-Token', b'***'), (b'A', b'b')]"),
        ('{"accessToken": "eyJh.b.c", "exp": 1}', '{"accessToken": "***", "exp": 1}'),
        ("the token hf_abcdefghijklmnopqrst is", "the token hf_*** is"),
        (HARMLESS, HARMLESS),
        ("data/train/sub-stroke0001.parquet: 3 of 4", "data/train/sub-stroke0001.parquet: 3 of 4"),
    ],
)  # fmt: skip
def test_secrets_are_taken_out_and_nothing_else(text, told):
    assert without_secrets(text) == told
    assert without_secrets(told) == told


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("HF_TOKEN", "odd token", "with odd token in it"),
        ("SOME_WEBHOOK_URL", "https://chat.example/hooks/b0t-5ecret", "url: /hooks/b0t-5ecret (x)"),
        ("SOME_WEBHOOK_URL", "no address b0t-5ecret", "no address b0t-5ecret"),
        ("HTTPS_PROXY", "http://ada:5ecret-word@proxy.example:1", "auth 5ecret-word failed"),
        ("SOME_ENDPOINT", "ada:5ecret-word@mirror.example", "'ada:5ecret-word@mirror.example' is none"),
    ],
)
def test_secrets_of_the_environment_are_known(monkeypatch, name, value, text):
    monkeypatch.setenv(name, value)
    told = without_secrets(text)
    assert "5ecret" not in told and "odd token" not in told and "***" in told


def test_all_that_an_exception_was_raised_from_is_cleaned():
    with pytest.raises(RuntimeError) as caught:
        try:
            try:
                raise OSError(f"cannot reach {SIGNED}")
            except OSError as error:
                raise ConnectionError(ValueError(SIGNED)) from error
        except ConnectionError:
            raise RuntimeError("no address here")  # noqa: B904 - what is raised by accident meanwhile
    remove_secrets(caught.value)
    inner = caught.value.__context__
    assert inner and inner.__cause__
    told = f"{caught.value} {inner} {inner.__cause__}"
    assert "5ecret" not in told and "no address here" in told and "cannot reach https://store.example" in told


def test_no_logger_says_a_secret():
    make = logging.getLogRecordFactory()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("urllib3.connectionpool")
    log.addHandler(handler)
    try:
        keep_secrets_out_of_logs()
        keep_secrets_out_of_logs()
        log.warning("Retrying %s after %r", SIGNED, OSError(SIGNED))
        try:
            raise OSError(SIGNED)
        except OSError:
            log.exception("it failed")
    finally:
        log.removeHandler(handler)
        logging.setLogRecordFactory(make)
    assert "5ecret" not in stream.getvalue()
    assert stream.getvalue().count("https://store.example/bucket/0e?***") == 3


TOKEN = "hf_SecretThatMustNotShow"
PASSWORD = "pa55word-of-the-mirror"
SIGNATURE = "5ecret51gnature"
HOOK = "b0t-5ecret"
SECRETS = (TOKEN, PASSWORD, SIGNATURE, HOOK)

DEFINITIONS = """
import os
from isles_assets_tests.toy import TOY
from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
os.environ["HF_TOKEN"] = os.environ["KEPT"]  # the tests' own package forgets it
defs = build_defs(TOY, Settings())
"""
ALL_IN_THE_LOG = """
telemetry: {enabled: false}
python_logs: {managed_python_loggers: [root], python_log_level: DEBUG}
"""
EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


@dataclass(frozen=True)
class signed(How):  # noqa: N801 - reads as a word of the call
    """Let the addresses of uploads in the answer be signed, as those of a store are."""

    def after(self, hub, call, response) -> None:
        address = r'(/transfer/[0-9a-f]+)"'
        response.body = re.sub(address, rf'\1?X-Amz-Signature={SIGNATURE}"', response.body.decode()).encode()


@dataclass(frozen=True)
class Place:
    """Where runs happen in processes of their own, with all that the clients log in the run's log."""

    home: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        """What a terminal shows of a command of Dagster."""
        (self.home / "part.py").write_text(DEFINITIONS)
        (self.home / "dagster.yaml").write_text(ALL_IN_THE_LOG)
        return shown("dagster", *arguments, "-m", "part", cwd=self.home, env=self.environment)[1]

    def materialize(self, asset: str, **config: Any) -> str:
        run_config: dict[str, Any] = {"execution": {"config": {"retries": {"disabled": {}}}}}
        if config:
            run_config["ops"] = {asset: {"config": config}}
        return self.run("asset", "materialize", "--select", asset, "--config-json", json.dumps(run_config))

    def tells_no_secret(self, *told: str) -> None:
        """Look for each secret in what was shown, and in all files: databases, logs of computing, data."""
        files = [path for path in self.home.rglob("*") if path.is_file()]
        assert any(path.suffix == ".db" for path in files) and any("compute" in str(path) for path in files)
        for secret in SECRETS:
            assert not [words for words in told if secret in words]
            assert not [str(path) for path in files if secret.encode() in path.read_bytes()]


@pytest.fixture
def place(tmp_path, toy_built, toy_built_folder):
    """It lies apart from the servers, which know the secrets. Dagster's databases are made already."""

    def place(hub: HubServer, **more: str) -> Place:
        home = tmp_path / "home"
        shutil.copytree(toy_built_folder / "home", home)
        shutil.copytree(toy_built.folder.root, home / "data", symlinks=True)
        variables = hub.environment(tmp_path / "hf") | {
            "KEPT": TOKEN,
            "DAGSTER_HOME": str(home),
            "ISLES_RAW_ROOT": str(toy_built.setup.tree),
            "ISLES_DATA_DIR": str(home / "data"),
            "ISLES_HUB_TARGET": "huggingface",
            "ISLES_LISTING": "off",
            "ISLES_WEBHOOK_URL": f"http://127.0.0.1:9/hooks/{HOOK}",
            "PYTHONPATH": str(REPOSITORY),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        return Place(home, variables | more)

    return place


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub server", tokens={TOKEN: Token("ada", orgs={"toys": "write"})}) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "words"), [(403, "AccessDenied"), pytest.param(400, "answers 400: AccessDenied", marks=pytest.mark.long)]
)
def test_a_run_that_uploads_tells_no_signature_and_no_token(hub, place, answer, words):
    place = place(hub, HF_DEBUG="1")
    hub.fail(path="/lfs/objects/batch", times=100, how=signed())
    hub.fail(method="PUT", path="/transfer/.*Signature", how=status(503, {"Retry-After": "0"}))
    fault = hub.fail(method="PUT", path="/transfer/.*Signature", times=100, how=status(answer, body=EXPIRED))
    denied = place.materialize("hub_dataset", allow_synthetic=True)
    assert "the store at 127.0.0.1" in denied and f"{words}: Request has expired" in denied
    assert "HTTP Error 503 thrown while requesting PUT" in denied and "/transfer/" in denied
    assert fault.hits
    place.tells_no_secret(denied)


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "words"), [pytest.param(503, "503", marks=pytest.mark.long), (401, "401")])
def test_a_password_in_the_address_of_the_hub_is_not_told(hub, place, answer, words):
    place = place(hub, HF_ENDPOINT=hub.endpoint.replace("://", f"://ada:{PASSWORD}@"), HF_DEBUG="1")
    hub.fail(path="/api/", times=100, how=status(answer, message="not now"))
    failed = place.materialize("hub_dataset", allow_synthetic=True)
    assert words in failed and "127.0.0.1" in failed and "Not done." in failed
    place.tells_no_secret(failed)


class Redirecting(BaseHTTPRequestHandler):
    """A mirror of Zenodo that sends everybody to an address that is signed, where nothing is."""

    def do_GET(self) -> None:
        is_signed = SIGNATURE in self.path
        body = json.dumps({"message": f"there is no http://store.example{self.path}"}).encode() if is_signed else b""
        self.send_response(404 if is_signed else 302)
        self.send_header("Location", f"/record?X-Amz-Signature={SIGNATURE}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.long
@pytest.mark.slow
def test_a_password_in_the_address_of_a_mirror_of_zenodo_is_not_told(hub, place):
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as mirror:
        Thread(target=mirror.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://ada:{PASSWORD}@127.0.0.1:{mirror.server_port}"
        place = place(hub, ISLES_RAW_ROOT="", ISLES_SOURCE="zenodo", ISLES_ZENODO_ENDPOINT=address)
        failed = place.materialize("zenodo_archive")
        mirror.shutdown()
    assert f"http://***@127.0.0.1:{mirror.server_port}/api/records/" in failed
    assert "Not done." in failed and "store.example" in failed
    place.tells_no_secret(failed)


WEBHOOK = """
import logging, traceback
logging.basicConfig(level=logging.DEBUG)
import isles_assets.definitions
from isles_assets.graph import webhook
try:
    webhook.post("hello")
except Exception:
    logging.exception("not posted")
    print(traceback.format_exc())
"""


def test_the_path_of_the_webhook_is_not_told_when_it_is_tried_again():
    port = free_port()
    address = f"http://127.0.0.1:{port}/hooks/{HOOK}"
    result = python(WEBHOOK, env={**os.environ, "ISLES_WEBHOOK_URL": address})
    assert "Retrying" in result.stderr and "cannot be reached at 127.0.0.1" in result.stdout
    assert HOOK not in result.stderr + result.stdout
