"""Whether two formulas are the same, in a process that is ended when it takes too long."""

from __future__ import annotations

import importlib.util
import json
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

from .numbers import bare_number
from .plain import require_text

LONGEST_FORMULA = 300  # characters
STARTING = 60.0  # seconds to import math-verify
DELIMITERS = re.compile(r"^\s*(?:\$\$?|\\\(|\\\[)|(?:\$\$?|\\\)|\\\])\s*$")
BOX = re.compile(r"^\s*\\boxed\s?\{(.*)\}\s*$", re.DOTALL)
WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
FUNCTIONS = "sin|cos|tan|cot|sec|csc|log|ln|exp|pi|arcsin|arccos|arctan|sinh|cosh|tanh"
BARE_FUNCTION = re.compile(rf"(?<![\\A-Za-z])({FUNCTIONS})(?![A-Za-z])")
COMMAND = re.compile(r"\\(?:text|mathrm|mathbf|frac|dfrac|tfrac|sqrt|operatorname|begin|end)\s?\{[^{}]*\}")


@dataclass(frozen=True)
class Equality:
    """Whether two formulas are the same.

    Attributes
    ----------
    equal : bool or None
        None if it was not decided.
    why : str
    """

    equal: bool | None
    why: str


def same_expressions(
    answers: Iterable[str], references: Iterable[str], *, timeout: float = 5.0, memory: int = 2048
) -> list[Equality]:
    """Whether each answer is the same formula as its reference: "2(x+1)" and "2x+2", ``\\frac{1}{2}`` and "0.5".

    Parameters
    ----------
    answers, references : iterable of str
        One formula each, in LaTeX or plain, as read out of a reply (not the reply); equally many.
    timeout : float
        Seconds for a pair. A pair that takes longer is not decided, and its process is killed.
    memory : int
        Megabytes of address space for that process, on Linux and macOS.

    Returns
    -------
    list of Equality
        In the order given. ``equal`` is None for what cannot be read, takes too long or is longer than 300 characters.

    Raises
    ------
    TypeError, ValueError
        If a text is no string, the numbers of texts differ, or a limit is out of range.
    ImportError
        If math-verify is missing: it comes with ``nbhelpers[checking]``.

    Notes
    -----
    Two single numbers are compared exactly, here. All else goes to math-verify, which rounds to six decimals and counts
    ``x = 5`` as 5. It is not a proof of inequality: False means that no equality was found.

    Its own limit of time needs signals, and so the main thread, and cannot interrupt one long step of arithmetic, such
    as ``9^{9^{9^{9}}}``. Here a process is killed instead, which works in threads too. That bounds time, and on Linux
    and macOS memory; it does not shut the process off from files or network. Starting takes about a second, so give
    all pairs in one call. Explained in the chapter "Checking Answers".
    """
    pairs = _pairs(answers, references)
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or not 0 < timeout < 86_400:
        raise ValueError(f"timeout={timeout!r}: give seconds, more than 0 and less than a day")
    if isinstance(memory, bool) or not isinstance(memory, Integral) or not 512 <= memory <= 1_000_000:
        raise ValueError(f"memory={memory!r}: give a whole number of megabytes, 512 or more")
    results = [_at_once(answer, reference) for answer, reference in pairs]
    hard = [place for place, result in enumerate(results) if result is None]
    if hard and importlib.util.find_spec("math_verify") is None:
        raise ImportError("formulas are compared by math-verify: pip install 'nbhelpers[checking]'")
    while hard:
        for place, result in zip(list(hard), _decided([pairs[p] for p in hard], timeout, memory), strict=False):
            results[place] = result
            hard.remove(place)
    return results


def _pairs(answers: Iterable[str], references: Iterable[str]) -> list[tuple[str, str]]:
    for name, texts in (("answers", answers), ("references", references)):
        if isinstance(texts, str):
            raise TypeError(f"{name}={texts!r:.60} is one string: give a list of formulas")
    answers, references = list(answers), list(references)
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers and {len(references)} references: give one reference per answer")
    return [(_formula("answer", a), _formula("reference", r)) for a, r in zip(answers, references, strict=True)]


def _formula(name: str, text: str) -> str:
    text = require_text(name, text)[: LONGEST_FORMULA + 100].strip()
    text = DELIMITERS.sub("", text)
    box = BOX.match(text)
    text = BARE_FUNCTION.sub(r"\\\1 ", (box[1] if box else text).replace("**", "^"))
    return text.strip()


def _at_once(answer: str, reference: str) -> Equality | None:
    """What needs no algebra: two numbers, the same text, and what is not looked at."""
    for name, text in (("answer", answer), ("reference", reference)):
        if not text:
            return Equality(None, f"the {name} is empty")
        if len(text) > LONGEST_FORMULA:
            return Equality(None, f"the {name} has more than {LONGEST_FORMULA} characters")
        words = WORD.findall(COMMAND.sub("", text))
        if "$" in text or [word for word in words if len(word) > 2 or word in ("or", "to", "is", "no")]:
            return Equality(None, f"the {name} is no single formula")
    values = bare_number(answer), bare_number(reference)
    return None if None in values else Equality(values[0] == values[1], "two numbers, compared exactly")


def _decided(pairs: Sequence[tuple[str, str]], timeout: float, memory: int) -> list[Equality]:
    """Results of the first pairs, at least one: all, or those up to the pair that took too long."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("formula_worker.py")), str(memory)]
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read_lines, args=(worker, lines), daemon=True)
    reader.start()
    found: list[Equality] = []
    try:
        if _next_line(lines, STARTING) != "ready":
            raise RuntimeError(
                f"math-verify did not start within {STARTING:g} seconds and {memory} megabytes: give more"
            )
        for pair in pairs:
            with suppress(OSError):  # it may be gone; the empty line below says so
                worker.stdin.write(json.dumps(pair) + "\n")
                worker.stdin.flush()
            line = _next_line(lines, timeout)
            if not line:
                slow = line is None
                why = f"not decided within {timeout:g} seconds" if slow else "the process of math-verify ended"
                return [*found, Equality(None, why)]
            found.append(Equality(*json.loads(line)))
        return found
    finally:
        worker.kill()
        worker.wait()
        reader.join()
        worker.stdout.close()
        with suppress(OSError):
            worker.stdin.close()


def _read_lines(worker: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    for line in worker.stdout:
        lines.put(line.strip())
    lines.put("")  # it ended


def _next_line(lines: queue.Queue[str], timeout: float) -> str | None:
    """The next line, "" if the process ended, None if it took too long."""
    try:
        return lines.get(timeout=timeout)
    except queue.Empty:
        return None
