"""A small server of the S3 protocol that fails as told: what stores do now and then, or never learned."""

import dataclasses
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclasses.dataclass
class Faults:
    """What goes wrong: counts are of the next requests of their kind."""

    ignores_if_none_match: bool = False
    refuses_if_none_match: bool = False
    conflicts: int = 0
    """PUTs with If-None-Match that are answered 409."""
    lost_answers: int = 0
    """PUTs that land, and whose connection is closed without an answer."""
    unlisted: set[str] = dataclasses.field(default_factory=set)
    """Keys that a listing does not have yet."""


class FakeS3(ThreadingHTTPServer):
    """Any bucket there is; `objects` by "bucket/key", with their metadata, and `requests` as "METHOD bucket/key"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults = Faults()
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving() -> Iterator[FakeS3]:
    """A server while the block runs."""
    with FakeS3() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeS3

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        content, server, name = self._body(), self.server, self._name()
        with server.lock:
            server.requests.append(f"PUT {name}")
            conditional = self.headers.get("If-None-Match") == "*"
            if conditional and server.faults.refuses_if_none_match:
                return self._answer(400, b"<Error><Code>InvalidArgument</Code></Error>")
            if conditional and server.faults.conflicts:
                server.faults.conflicts -= 1
                return self._answer(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
            if conditional and not server.faults.ignores_if_none_match and name in server.objects:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            source = self.headers.get("x-amz-copy-source")
            said = {key.lower(): value for key, value in self.headers.items() if key.lower().startswith("x-amz-meta-")}
            server.objects[name] = server.objects[unquote(source).lstrip("/")] if source else (content, said)
            if server.faults.lost_answers:
                server.faults.lost_answers -= 1
                self.close_connection = True
                return None
        tag = _tag(server.objects[name][0])
        return self._answer(200, f"<R><ETag>{tag}</ETag></R>".encode() if source else b"", {"ETag": tag})

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if "list-type" in parse_qs(url.query):
            return self._list(parse_qs(url.query))
        self.server.requests.append(f"{self.command} {self._name()}")
        found = self.server.objects.get(self._name())
        if found is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        content, said = found
        headers = {"ETag": _tag(content), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **said}
        if self.headers.get("If-Match", headers["ETag"]) != headers["ETag"]:
            return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        asked = self.headers.get("Range")
        if asked is None:
            return self._answer(200, content, headers)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        piece = content[int(first) : int(last) + 1]
        headers["Content-Range"] = f"bytes {first}-{int(first) + len(piece) - 1}/{len(content)}"
        return self._answer(206, piece, headers)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Delete several, which is all that the protocol's client posts here."""
        keys = re.findall(r"<Key>(.*?)</Key>", self._body().decode())
        for key in keys:
            self.server.requests.append(f"DELETE {self._name().rstrip('/')}/{key}")
            self.server.objects.pop(f"{self._name().rstrip('/')}/{key}", None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode(), {"Content-Type": "application/xml"})

    def _list(self, query: dict[str, list[str]]) -> None:
        bucket, prefix = self._name().rstrip("/"), query.get("prefix", [""])[0]
        self.server.requests.append(f"LIST {bucket}/{prefix}")
        rows = []
        with self.server.lock:
            for name, (content, _) in sorted(self.server.objects.items()):
                key = name.removeprefix(f"{bucket}/")
                if name.startswith(f"{bucket}/{prefix}") and key not in self.server.faults.unlisted:
                    rows.append(
                        f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                        f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{_tag(content)}</ETag></Contents>"
                    )
        listed = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
        self._answer(200, listed.encode(), {"Content-Type": "application/xml"})

    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
