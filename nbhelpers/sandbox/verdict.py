"""The tests' side: execute them, with functions that call the program. Sent into the sandbox as text.

Stdin brings the tests, stdout takes the verdict, which the program's process cannot reach.
"""

import ast
import builtins
import os
import sys

from plain_data import closed_to_others, from_json, limit, receive, send, to_json


class ProgramError(Exception):
    """What the program raised, if it is none of Python's own exceptions."""


class ProgramEnded(BaseException):
    """The program's process is gone, or says what makes no sense. No `except Exception` in a test may hide it."""


class Program:
    """The other process: `names` for the tests, each a function that asks it, or plain data."""

    def __init__(self, requests, replies):
        self.requests, self.replies = requests, replies
        offer = self.answer()
        self.broken = offer.get("broken")
        self.names = {name: from_json(value) for name, value in offer.get("values", {}).items()}
        self.names |= {name: self.function(name) for name in offer.get("callables", [])}

    def function(self, name):
        def call(*arguments, **keywords):
            sent = {"name": name, "arguments": to_json(list(arguments)), "keywords": to_json(keywords)}
            send(self.requests, sent)
            found = self.answer()
            if "raised" not in found:
                return from_json(found["value"])
            kind = getattr(builtins, str(found["raised"]), None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                raise kind(str(found["message"]).partition(": ")[2])
            raise ProgramError(str(found["message"]))

        call.__name__ = name
        return call

    def answer(self):
        try:
            found = receive(self.replies)
            if type(found) is not dict:
                raise ValueError("no reply")
            return found
        except (EOFError, OSError, RecursionError, ValueError) as error:
            raise ProgramEnded(str(error)) from None


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
        return {"status": "ended", "detail": "the program's process ended before its tests did"}
    except BaseException as error:
        return {"status": "failed", "detail": where(error, tests)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & program.names.keys()
    if not used:
        return {"status": "failed", "detail": "the tests use nothing that the program defines"}
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
