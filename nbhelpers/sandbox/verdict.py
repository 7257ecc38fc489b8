"""The tests' side: execute them, with functions that call the program. Sent into the sandbox as text.

Stdin brings the tests, stdout takes the verdict, which the program's process cannot reach.
"""

import ast
import builtins
import keyword
import os
import sys
from contextlib import suppress

from .plain_data import closed_to_others, from_json, limit, receive, send, to_json

ENDED = {"status": "ended", "detail": "the program's process ended before its tests did"}
NOTHING_TESTED = (
    "the tests call nothing that the program defines (a function called test_... must be called, too; names of "
    "Python's own, such as sum, keep their meaning in tests)"
)


class ProgramError(Exception):
    """What the program raised, if it is none of Python's own exceptions."""


class ProgramEnded(BaseException):
    """The program's process is gone, or says what makes no sense. No `except Exception` in a test may hide it."""


class Program:
    """The other process: `names` for the tests, each a function that asks it, or plain data.

    `calls` counts how often it was asked; `ended` says whether it was missed once.
    """

    def __init__(self, requests, replies):
        self.requests, self.replies, self.calls, self.ended = requests, replies, 0, False
        offer = self.answer()
        self.broken = offer.get("broken")
        self.values = {name: from_json(value) for name, value in offer.get("values", {}).items() if allowed(name)}
        self.names = {
            **self.values,
            **{name: self.function(name) for name in filter(allowed, offer.get("callables", []))},
        }

    def function(self, name):
        def call(*arguments, **keywords):
            sent = {"name": name, "arguments": to_json(list(arguments)), "keywords": to_json(keywords)}
            self.calls += 1
            try:
                send(self.requests, sent)
            except OSError as error:  # nobody listens
                raise self.gone(error) from None
            found = self.answer()
            if "raised" not in found:
                return from_json(found["value"])
            raise exception(found["raised"], str(found["message"]))

        call.__name__ = name
        return call

    def answer(self):
        try:
            found = receive(self.replies)
            if type(found) is not dict:
                raise ValueError("no reply")
            return found
        except (EOFError, OSError, RecursionError, ValueError) as error:
            raise self.gone(error) from None

    def gone(self, error):
        self.ended = True
        return ProgramEnded(str(error))


def allowed(name):
    """Whether the tests may see a name of the program: one of Python's own, such as `all`, keeps its meaning there."""
    usable = type(name) is str and name.isidentifier() and not name.startswith("__") and not keyword.iskeyword(name)
    return usable and not hasattr(builtins, name)


def exception(kinds, message):
    """The program's exception, or of its base classes the nearest that is Python's own."""
    for name in kinds:
        kind = getattr(builtins, str(name), None)
        if not isinstance(kind, type) or not issubclass(kind, Exception) or kind is Exception:
            continue
        if issubclass(kind, StopIteration | StopAsyncIteration):
            break  # it would end a loop of the tests, as in all(map(...)), and pass them
        text = message.partition(": ")[2] if name == kinds[0] else message
        try:
            return kind(text)
        except TypeError:  # UnicodeDecodeError, say, which wants five arguments
            with suppress(TypeError):
                found = kind.__new__(kind)
                found.args = (text,)
                return found
    return ProgramError(message)


def main(requests, replies, seconds, megabytes):
    tests = sys.stdin.buffer.read().decode()
    verdict = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what tests print is nobody's verdict
    limit(seconds, megabytes)
    closed_to_others()
    send(verdict, judged(tests, os.fdopen(requests, "wb"), os.fdopen(replies, "rb")))


def judged(tests, requests, replies):
    try:
        tree = ast.parse(tests, "tests")
        program = Program(requests, replies)
        if program.broken is not None:
            return {"status": "broken", "detail": str(program.broken)}
        exec(compile(tree, "tests", "exec"), {"__name__": "tests", **program.names})
    except ProgramEnded:
        return ENDED
    except BaseException as error:
        return {"status": "failed", "detail": where(error, tests)}
    if program.ended:  # a bare `except:` hid it
        return ENDED
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if not program.calls and not used & program.values.keys():
        return {"status": "failed", "detail": NOTHING_TESTED}
    return {"status": "passed", "detail": ""}


def where(error, tests):
    """The exception in one line, and the line of the tests that it comes from."""
    line, step = 0, error.__traceback__
    while step:
        if step.tb_frame.f_code.co_filename == "tests":
            line = step.tb_lineno
        step = step.tb_next
    message = f"{type(error).__name__}: {error}".rstrip(": ")[:500]
    return f"{message} (line {line} of the tests: {tests.splitlines()[line - 1].strip()[:200]})" if line else message
