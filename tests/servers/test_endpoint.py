"""`Endpoint`: every bad value is named, and no message repeats a key."""

import math
from pathlib import Path

import pytest
from scripted_server import KEY

from nbhelpers.servers import Endpoint


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"base_url": "localhost:8000/v1"}, ValueError, "base_url='localhost:8000/v1': give the whole address"),
        ({"base_url": "http://"}, ValueError, "give the whole address"),
        ({"base_url": "ftp://localhost/v1"}, ValueError, "give the whole address"),
        ({"base_url": "http://localhost:port/v1"}, ValueError, "give the whole address"),
        ({"base_url": "http://local host/v1"}, ValueError, "give the whole address"),
        ({"base_url": f"http://me:{KEY}@localhost/v1"}, ValueError, "a user name, a password or a query"),
        ({"base_url": f"me:{KEY}@localhost/v1"}, ValueError, "a user name, a password or a query"),
        ({"base_url": f"https://localhost/v1?key={KEY}"}, ValueError, "a user name, a password or a query"),
        ({"base_url": None}, TypeError, "base_url must be text, not NoneType"),
        ({"model": " "}, ValueError, "model is empty"),
        ({"model": Path("m")}, TypeError, "model must be text, not PosixPath"),
        ({"key_variable": KEY}, ValueError, "give the name of the variable that holds the key"),
        ({"concurrency": 0}, ValueError, "concurrency=0"),
        ({"concurrency": 2.0}, ValueError, "concurrency=2.0"),
        ({"timeout": 0}, ValueError, "timeout=0"),
        ({"timeout": math.nan}, ValueError, "timeout=nan"),
        ({"retries": -1}, ValueError, "retries=-1"),
        ({"cache": 7}, TypeError, "cache=7"),
    ],
)
def test_a_bad_endpoint_is_named(options, error, message):
    with pytest.raises(error, match=message) as caught:
        Endpoint(**{"base_url": "http://[::1]:8000/v1", "model": "m", **options})
    assert KEY not in str(caught.value)
