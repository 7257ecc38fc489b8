"""Start a program and its tests in two processes, watch the clock, and end both."""

from __future__ import annotations

import ast
import json
import math
import os
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from numbers import Integral, Real
from pathlib import Path
from typing import Literal

from .isolation import Isolation, isolated, isolation

Status = Literal["passed", "failed", "broken", "ended", "timeout"]

MAX_OUTPUT = 10_000  # bytes of the program's output that are kept


@dataclass(frozen=True)
class ProgramRun:
    """What came of a program and its tests.

    Attributes
    ----------
    status : "passed", "failed", "broken", "ended" or "timeout"
        "broken" if the source cannot be executed, "failed" if a test fails or raises, "ended" if the program's process
        was gone before its tests were over, "timeout" if both were ended by the clock.
    detail : str
        The exception and where it was raised; empty if the tests passed.
    output : str
        What the program printed, the first 10,000 bytes.
    isolation : "namespaces", "bubblewrap" or "process"
        How the program was shut off. See `isolation`.
    """

    status: Status
    detail: str
    output: str
    isolation: Isolation

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.status == "passed"


def run_program(source: str, tests: str, *, timeout: float = 5.0, memory: int = 512) -> ProgramRun:
    """Execute a program away from everything else, and say whether it passes its tests.

    Parameters
    ----------
    source : str
        Python, with the standard library only. Its functions are what the tests call.
    tests : str
        Python that asserts: ``assert double(2) == 4``. It sees the program's functions and its constants as names, but
        for those that Python itself uses: a program's own `sum` or `all` is not seen. What passes between the two is
        plain data, copied: None, numbers, strings, bytes, lists, tuples, sets and dicts. So a list that the program
        changes in place has not changed for the tests.
    timeout : float
        Seconds for program and tests together.
    memory : int
        Megabytes that each of the two processes may allocate, 64 or more.

    Returns
    -------
    ProgramRun
        Also for programs that crash, hang or attack: they do not pass.

    Raises
    ------
    TypeError, ValueError
        If source or tests are not text, the tests are empty, no Python or assert a tuple (which is always true), or a
        limit is out of range.
    RuntimeError
        On an operating system without limits for processes (Windows).

    Notes
    -----
    Each process has an isolated interpreter (``-I -S``), an empty environment, a session and a folder of its own, hard
    limits on CPU time, memory, the size of files, open files, and further processes (none; root's are not limited where
    ``isolation() == "process"``). `isolation` says what it can see: on most Linux machines neither network nor files.

    **What it does not protect from.** Tests that a wrong program passes. A fault in the kernel or in Python itself, and
    what `isolation` says is not shut off. With ``isolation() == "process"`` also your files and your network: a program
    that was written to attack you can do what you can, and forge a verdict. Use a container or a virtual machine for
    code of that kind. A program that fills its memory or uses a core until the clock ends it slows down what else is
    running.

    The tests run in a process that the program cannot reach, as an attack on the verdict would otherwise be one line:
    ``os._exit(0)``, an `abs` of its own, an ``__eq__`` that is always true. Chen and others, "Evaluating Large
    Language Models Trained on Code" (2021), section 2.3, describe why such code needs a sandbox. Explained in the
    chapter "Does the Program Run?".
    """
    _check(source, tests, timeout, memory)
    kind = isolation()
    limits = f"{math.ceil(timeout) + 1}, {memory}"
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        asked, asking = _pipe(stack)  # the tests' requests: where the program reads, where the tests write
        answered, answering = _pipe(stack)
        program = _Process(stack, kind, "program", (asked, answering), limits, source)
        judge = _Process(stack, kind, "verdict", (asking, answered), limits, tests)
        for end in (asked, asking, answered, answering):
            end.close()  # each process has its own copy; with ours open, neither would see that the other ended
        in_time = judge.finished(deadline)
    output = program.output.decode(errors="replace")
    if not in_time:
        return ProgramRun("timeout", f"not finished after {timeout:g} seconds", output, kind)
    return ProgramRun(*_verdict(judge.output), output, kind)


def _check(source: str, tests: str, timeout: float, memory: int) -> None:
    if os.name != "posix":
        raise RuntimeError("programs are run only where a process can be limited: Linux or macOS")
    for name, text in (("source", source), ("tests", tests)):
        if not isinstance(text, str):
            raise TypeError(f"{name} is {text!r:.60}: give the text of a program")
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the tests are no Python ({error}): mend them, or nothing can pass") from None
    if not tree.body:
        raise ValueError("there are no tests, so every program would pass: give at least one assert")
    pairs = [node for node in ast.walk(tree) if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple)]
    if pairs:
        raise ValueError(
            f"line {pairs[0].lineno} of the tests asserts a tuple, which is always true: take its brackets off"
        )
    if not isinstance(timeout, Real) or not 0 < timeout < 86_400:
        raise ValueError(f"timeout={timeout!r}: give seconds, more than 0 and less than a day")
    if not isinstance(memory, Integral) or not 64 <= memory <= 1_000_000:
        raise ValueError(f"memory={memory!r}: give a whole number of megabytes, 64 or more")


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    """Both ends, as objects: a number that is closed twice may be another thread's file by then."""
    reading, writing = os.pipe()
    return stack.enter_context(FileIO(reading, "r")), stack.enter_context(FileIO(writing, "w"))


@lru_cache
def _script(side: str) -> str:
    """What runs inside, as text: it sees no file of this package."""
    folder = Path(__file__).parent
    shared, own = ((folder / f"{name}.py").read_text(encoding="utf-8") for name in ("plain_data", side))
    return f"""
import sys, types
for name in "sandbox", "sandbox.plain_data":
    sys.modules[name] = types.ModuleType(name)
sys.modules["sandbox"].__path__ = []
exec({shared!r}, vars(sys.modules["sandbox.plain_data"]))
__package__ = "sandbox"
{own}"""


class _Process:
    """One side: a process that is given its text, and whose output is read, as far as it is kept, in a thread."""

    def __init__(
        self, stack: ExitStack, kind: Isolation, side: str, ends: tuple[FileIO, FileIO], limits: str, text: str
    ):
        command, folder = stack.enter_context(isolated(kind))
        numbers = [end.fileno() for end in ends]
        start = f"{_script(side)}\nmain({numbers[0]}, {numbers[1]}, {limits})"
        self.output = b""
        self._process = subprocess.Popen(
            [*command, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if side == "program" else subprocess.DEVNULL,
            pass_fds=numbers,
            start_new_session=True,
            env={},
            cwd=folder,
        )
        stack.callback(self.end)  # after Ctrl-C, too
        self._thread = threading.Thread(target=self._talk, args=(text.encode(errors="replace"),), daemon=True)
        self._thread.start()

    def _talk(self, text: bytes) -> None:
        with self._process.stdin as stdin, suppress(BrokenPipeError):
            stdin.write(text)
        with self._process.stdout as stdout:
            while chunk := stdout.read1(65_536):
                self.output += chunk[: MAX_OUTPUT - len(self.output)]

    def finished(self, deadline: float) -> bool:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def end(self) -> None:
        """Kill the process and all below it. A process may leave its group, but not its place in the tree."""
        below = [self._process.pid]
        for pid in below:
            below += _children(pid)
        for pid in reversed(below):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join(1)  # longer only if a process that left the tree still holds the output (macOS, or as root)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _verdict(content: bytes) -> tuple[Status, str]:
    try:
        found = json.loads(content[4:])
        return found["status"], found["detail"]
    except ValueError:
        return "failed", "the tests ended without a verdict: more memory or time may be needed"
