"""The program's side: execute the source, then call its functions when the tests ask. Sent into the sandbox as text.

`main` is called with the numbers of two file descriptors, requests in and replies out; the source comes on stdin.
"""

import os
import sys
from contextlib import suppress

from .plain_data import from_json, limit, receive, send, to_json


def main(requests, replies, seconds, megabytes):
    source = sys.stdin.buffer.read().decode()
    requests, replies = os.fdopen(requests, "rb"), os.fdopen(replies, "wb")
    limit(seconds, megabytes)
    space = {"__name__": "program"}
    try:
        exec(compile(source, "program", "exec"), space)
    except BaseException as error:  # whatever a program raises is a result, SystemExit included
        send(replies, {"broken": said(error)})
        return
    send(replies, offered(space))
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return
        try:
            arguments, keywords = from_json(request["arguments"]), from_json(request["keywords"])
            send(replies, {"value": to_json(space[request["name"]](*arguments, **keywords))})
        except BaseException as error:
            send(replies, {"raised": [kind.__name__ for kind in type(error).__mro__], "message": said(error)})


def offered(space):
    """What the tests may use: callables by name, plain data by value."""
    callables, values = [], {}
    for name, value in list(space.items()):
        if type(name) is not str or name.startswith("__"):
            continue
        if callable(value):
            callables.append(name)
            continue
        with suppress(RecursionError, TypeError):  # a module, say, stays where it is
            values[name] = to_json(value)
    return {"callables": callables, "values": values}


def said(error):
    """An exception in one line, whatever its class does."""
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except BaseException:
        return "an exception that cannot be shown"
