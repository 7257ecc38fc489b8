"""`Endpoint`: every bad value is named, and no message repeats a key."""

import dataclasses
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
        ({"base_url": f"http://me:{KEY}%40localhost/v1"}, ValueError, "a user name, a password or a query"),
        ({"base_url": f"http://{KEY}%2540localhost/v1"}, ValueError, "a user name, a password or a query"),
        (
            {"base_url": f"http://me:{KEY}\uff20localhost/v1"},
            ValueError,
            "give the whole address",
        ),  # NFKC makes an @ of it
        ({"base_url": f"http://me%3A{KEY}\\localhost/v1"}, ValueError, "not repeated here"),
        ({"base_url": f"http://me:{KEY}/v1"}, ValueError, "not repeated here"),
        ({"base_url": f"https://localhost/v1%3Fkey={KEY}"}, ValueError, "a user name, a password or a query"),
        ({"base_url": KEY}, ValueError, "not repeated here"),
        ({"base_url": "http://localhost:99999/v1"}, ValueError, "base_url='http://localhost:99999/v1': give the whole"),
        ({"base_url": "http://[:::::]:8/v1"}, ValueError, "give the whole address"),
        ({"base_url": []}, ValueError, "base_url is an empty list: give one address or more"),
        ({"base_url": ["http://localhost/v1", None]}, TypeError, "base_url must be text, not NoneType"),
        ({"base_url": ["http://localhost/v1", "localhost"]}, ValueError, "give the whole address"),
        ({"base_url": ["http://localhost/v1", f"http://me:{KEY}@localhost/v1"]}, ValueError, "a user name, a password"),
        ({"base_url": ["http://localhost/v1", "http://localhost/v1/"]}, ValueError, "names one address twice"),
        ({"start_token": 3}, TypeError, "start_token must be text, not int"),
        ({"start_token": ""}, ValueError, "start_token is empty: give a token such as"),
        (
            {"base_url": "http://local\nhost/v1"},
            ValueError,
            "base_url holds half a character, or one that cannot be seen",
        ),
        ({"model": "half \ud83d"}, ValueError, "model holds half a character"),
        ({"model": b"m"}, TypeError, "model must be text, not bytes"),
        ({"top_logprobs_limit": 0}, ValueError, "top_logprobs_limit=0"),
        ({"top_logprobs_limit": "5"}, ValueError, "top_logprobs_limit='5'"),
        ({"key_variable": KEY}, ValueError, "give the name of the variable that holds the key"),
        ({"key_variable": f"hf_{KEY[9:].replace('-', '')}"}, ValueError, "looks like a key"),  # may name a variable
        ({"key_variable": "AbCdEfGhIjKlMnOpQrSt"}, ValueError, "looks like a key"),
        ({"key_variable": "half_\ud83d"}, ValueError, "key_variable holds half a character"),
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
    for secret in (KEY, KEY[9:].replace("-", ""), "AbCdEfGhIjKlMnOpQrSt"):
        assert secret not in str(caught.value)


def test_several_addresses_are_replicas_and_the_first_names_the_model():
    endpoint = Endpoint(["http://one:1/v1/", "https://two/v1"], "m")
    assert endpoint.base_urls == ("http://one:1/v1", "https://two/v1") and hash(endpoint) is not None
    assert dataclasses.replace(endpoint, concurrency=9).base_urls == endpoint.base_urls
    assert Endpoint("http://one:1/v1/", "m").base_urls == ("http://one:1/v1",)


@pytest.mark.parametrize("field", ["base_url", "model", "cache", "start_token"])
def test_the_key_in_a_wrong_place_is_refused_and_not_repeated(monkeypatch, field):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    options = {"base_url": f"http://localhost/{KEY}/v1", "model": KEY, "cache": f"/tmp/{KEY}", "start_token": KEY}
    with pytest.raises(ValueError, match=f"{field} .not repeated here. holds the key") as caught:
        Endpoint(**{"base_url": "http://localhost/v1", "model": "m", field: options[field]})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "https://api.example.org"},
        {"base_url": "http://my_host.local:8000/a%20b/v1/"},
        {"base_url": "HTTP://[::1]:1/v1"},
        {"key_variable": "my_openrouter_key"},
        {"key_variable": "Key2"},
        {"key_variable": "AZURE_OPENAI_KEY_2025_WEST"},
        {"model": "/home/me/My Models/smol-135m@main"},
        {"model": "模型"},
    ],
)
def test_unusual_endpoints_are_fine(options):
    endpoint = Endpoint(**{"base_url": "http://localhost/v1", "model": "m", **options})
    assert {name: getattr(endpoint, name) for name in options} == options
