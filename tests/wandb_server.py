"""A loopback stand-in of the W&B server, enough for an online run of wandb 0.31.

It answers the GraphQL operations that wandb-core sends for a run (and for an artifact), takes the history
stream and the uploads, and keeps all that came in. Point a client at it with ``WANDB_BASE_URL``::

    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        ...
    assert server.run("my run").history
"""

import base64
import contextlib
import gzip
import json
import re
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

KEY = "0123456789abcdef0123456789abcdef01234567"
ENTITY = "stand-in"
_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")
_STREAM = re.compile(r"^/files/[^/]+/[^/]+/([^/]+)/file_stream$")


@dataclass
class ReceivedRun:
    """All that one run sent."""

    id: str
    name: str = ""
    project: str = ""
    entity: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    raw_config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The config as the user gave it, without W&B's own entry and its ``{"value": …}`` wrapping."""
        return {key: item["value"] for key, item in self.raw_config.items() if key != "_wandb"}

    def upsert(self, variables: dict[str, Any]) -> None:
        """Take what an UpsertBucket mutation says; what it leaves out stays."""
        for attribute, variable in [("name", "displayName"), ("group", "groupName"), ("tags", "tags")]:
            if variables.get(variable):
                setattr(self, attribute, variables[variable])
        self.project = variables.get("project") or self.project or "uncategorized"
        self.entity = variables.get("entity") or self.entity or ENTITY
        self.name = self.name or self.id
        if variables.get("config"):
            self.raw_config = json.loads(variables["config"])

    def stream(self, body: dict[str, Any]) -> None:
        """Take one request of the file stream: history rows at their offset, and the newest summary."""
        for name, chunk in (body.get("files") or {}).items():
            rows = [json.loads(line) for line in chunk["content"]] if name.endswith((".jsonl", ".json")) else []
            if name == "wandb-history.jsonl":
                self.history[chunk["offset"] :] = rows
            elif name == "wandb-summary.json" and rows:
                self.summary = rows[-1]
        if body.get("complete"):
            self.exit_code = body.get("exitcode")


class WandbServer:
    """The stand-in; a context manager that serves on a free loopback port.

    Args:
        reject_key: Answer every request with 401, as the real server does for an unknown key.

    Attributes:
        runs: What came in, by run id.
        artifacts: Artifacts by id: name, type, aliases, metadata, whether committed.
        uploads: Uploaded artifact files, by storage path.
        operations: The names of the GraphQL operations in the order they came.
        unknown: Requests that the stand-in had no answer for; a test asserts that it is empty.
    """

    key = KEY

    def __init__(self, *, reject_key: bool = False) -> None:
        self.reject_key = reject_key
        self.runs: dict[str, ReceivedRun] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    def __enter__(self) -> "WandbServer":
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self._server.errors = self.unknown
        self._port = self._server.server_address[1]
        poll = {"poll_interval": 0.02}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=poll, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving: open connections are cut and the port refuses. What came in stays readable."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._thread.join()
            self._server = self._thread = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def run(self, name: str) -> ReceivedRun:
        """Return the one run with this display name."""
        (run,) = [run for run in self.runs.values() if run.name == name]
        return run

    # One answer a GraphQL operation, found by its name: variables in, "data" out.

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """Return the data for a GraphQL operation, None where the stand-in does not know it."""
        known: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "Viewer": self._viewer,
            "OrganizationCoreWeaveOrganizationID": lambda _: {"entity": {"organization": None}},
            "RunResumeStatus": self._resume_status,
            "UpsertBucket": self._upsert_bucket,
            "CreateRunFiles": self._create_run_files,
            "XXHashDigestsEnabled": lambda _: {"entity": {"xxhashDigestsEnabled": False}},
            "ArtifactType": lambda _: {"project": None},
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": self._create_manifest,
            "UpdateArtifactManifest": self._update_manifest,
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": self._commit_artifact,
        }
        return known[operation](variables) if operation in known else None

    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "user", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def _resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "project", "name": variables["project"], "entity": {"id": "entity", "name": ENTITY}}
        run = self.runs.get(variables["name"])
        if run is None:
            return {"model": {**project, "bucket": None}}
        bucket = {
            "id": run.id,
            "name": run.id,
            "displayName": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps(run.raw_config),
            "tags": run.tags,
            "notes": "",
            # Without "t", its telemetry, a run counts as one that never started.
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {**project, "bucket": bucket}}

    def _upsert_bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        # A later upsert of the same run names the bucket by the id that the first answer gave: the same word.
        identity = variables.get("name") or variables["id"]
        inserted = identity not in self.runs
        run = self.runs.setdefault(identity, ReceivedRun(identity))
        run.upsert(variables)
        entity = {"id": "entity", "name": run.entity}
        bucket = {
            "id": run.id,
            "name": run.id,
            "displayName": run.name,
            "description": None,
            "config": json.dumps(run.raw_config),
            "sweepName": None,
            "project": {"id": "project", "name": run.project, "entity": entity},
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _create_run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": n, "uploadUrl": f"{self.url}/upload/run/{run}/{n}"} for n in variables["files"]]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _create_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        wanted = variables["input"]
        identity = f"artifact-{len(self.artifacts)}"
        self.artifacts[identity] = {
            "name": wanted["artifactCollectionName"],
            "type": wanted["artifactTypeName"],
            "aliases": [alias["alias"] for alias in wanted.get("aliases") or []],
            "metadata": json.loads(wanted.get("metadata") or "{}"),
            "run": wanted.get("runName"),
            "committed": False,
        }
        sequence = {"id": "sequence", "latestArtifact": None}
        artifact = {"id": identity, "state": "PENDING", "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def _create_manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        manifest = self._manifest(variables["artifactID"])
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _update_manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = variables["artifactManifestID"].removeprefix("manifest-")
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(identity)}}

    def _manifest(self, artifact: str) -> dict[str, Any]:
        path = f"manifest-{artifact}"
        url = f"{self.url}/upload/artifact/{path}"
        return {"id": path, "file": {"id": path, "uploadUrl": url, "uploadHeaders": []}}

    def _create_artifact_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for spec in variables["input"]["artifactFiles"]:
            path = f"{spec['artifactID']}/{spec['name']}"
            node = {
                "storagePath": path,
                "uploadUrl": f"{self.url}/upload/artifact/{path}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": spec["artifactID"]},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = variables["artifactID"]
        self.artifacts[identity]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": identity, "digest": "digest"}}}


class _Server(ThreadingHTTPServer):
    """Keeps what went wrong in an answer, instead of printing it, and can cut its connections."""

    daemon_threads = True
    # server_close() would wait for the threads, and they for a client that keeps its connection open.
    block_on_close = False
    errors: list[str]

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exception()
        # wandb-core drops its idle connections at the end: no fault of anybody's.
        if not isinstance(error, ConnectionError):
            self.errors.append(f"{client_address}: {error!r}")


def _handler_for(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Keep quiet: the test's output belongs to the test."""

        def do_GET(self) -> None:
            self._reply(200, {})

        def do_POST(self) -> None:
            body = json.loads(self._body() or b"{}")
            if server.reject_key or not self._knows_key():
                self._reply(401, {"errors": [{"message": "user is not logged in"}]})
                return
            path = urlsplit(self.path).path
            with server.lock:
                if path == "/graphql":
                    self._graphql(body)
                elif match := _STREAM.match(path):
                    server.runs.setdefault(match[1], ReceivedRun(match[1])).stream(body)
                    self._reply(200, {"exitcode": None, "limits": {}})
                else:
                    server.unknown.append(f"POST {path}")
                    self._reply(404, {})

        def do_PUT(self) -> None:
            _, _, kind, rest = unquote(urlsplit(self.path).path).split("/", 3)
            body = self._body()
            with server.lock:
                if kind == "run":
                    run, name = rest.split("/", 1)
                    server.runs[run].files[name] = body
                else:
                    server.uploads[rest] = body
            self._reply(200, {})

        def _graphql(self, body: dict[str, Any]) -> None:
            match = _OPERATION.search(body["query"])
            operation = match[1] if match else "?"
            server.operations.append(operation)
            data = server.answer(operation, body.get("variables") or {})
            if data is None:
                server.unknown.append(operation)
                self._reply(200, {"errors": [{"message": f"the stand-in does not know {operation}"}]})
            else:
                self._reply(200, {"data": data})

        def _knows_key(self) -> bool:
            scheme, _, word = self.headers.get("Authorization", "").partition(" ")
            return scheme == "Basic" and base64.b64decode(word).decode() == f"api:{KEY}"

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _reply(self, status: int, data: dict[str, Any]) -> None:
            payload = json.dumps(data).encode()
            # A client that gave up waiting has closed its end: nobody is left to tell.
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

    return Handler
