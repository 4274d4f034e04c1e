"""moto's server of the S3 protocol on the loopback interface, and a bucket of its own for each test."""

import secrets
import urllib.request
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from memscan.scanner.objects.client import Objects
from memscan.scanner.place import Url

SECRET = "sekrit/of+nobody"


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of a server that lives as long as the tests."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a user sets to reach the server; gives its URL."""
    named(endpoint, monkeypatch)
    return endpoint


@pytest.fixture
def bucket(environment: str) -> Url:
    """A bucket that was just made."""
    place = Url("s3", f"bucket-{secrets.token_hex(6)}")
    urllib.request.urlopen(urllib.request.Request(f"{environment}/{place.bucket}", method="PUT"), timeout=60).close()
    return place


def named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Describe a server in the environment, as a user does."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def contents(place: Url) -> dict[str, bytes]:
    """All objects of a place, by name."""
    objects = Objects(place)
    return {name: objects.read(name, 0, size) if (size := objects.size(name)[0]) else b"" for name in objects.names("")}
