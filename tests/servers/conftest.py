"""A scripted server and an endpoint that points at it, for the tests of `nbhelpers.servers`."""

import pytest
from scripted_server import ScriptedServer

from nbhelpers.servers import Endpoint, transport


@pytest.fixture
def server():
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch):
    """Retry almost at once, and start without the key that a developer's shell may hold."""
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def endpoint(server, tmp_path):
    return Endpoint(server.url, "m", cache=tmp_path / "replies", timeout=5)
