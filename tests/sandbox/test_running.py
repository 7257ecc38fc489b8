"""Programs and their tests: what passes, what does not and why, and what attacks."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import nbhelpers as nb
from nbhelpers.sandbox import isolation, running
from nbhelpers.sandbox.isolation import isolated

ONE_MORE = "def one_more(x):\n    return x + 1\n"
TESTS = "assert one_more(1) == 2\nassert one_more(-1) == 0"

VERDICTS = [
    (ONE_MORE, TESTS, "passed", ""),
    (ONE_MORE, "assert one_more(1) == 3, 'off by one'", "failed", "AssertionError: off by one (line 1 of the tests: "),
    (
        ONE_MORE,
        "x = 2\nassert one_more(x) == x",
        "failed",
        "AssertionError (line 2 of the tests: assert one_more(x) == x)",
    ),
    ("def f(x: return x", "assert f(1)", "broken", "SyntaxError"),
    ("1 / 0", "assert f(1)", "broken", "ZeroDivisionError: division by zero"),
    ("import sys\nsys.exit()", "assert f(1)", "broken", "SystemExit"),
    ("import numpy", "assert f(1)", "broken", "ModuleNotFoundError"),  # the standard library only
    (
        "def max_list(x): return max(x)",
        "assert maximum([1]) == 1",
        "failed",
        "NameError: name 'maximum' is not defined",
    ),
    (ONE_MORE, "assert 1 + 1 == 2", "failed", "the tests call nothing that the program defines"),  # cannot fail
    ("", TESTS, "failed", "NameError"),
    # pytest would call it; here nothing does, and no assert is reached
    ("def f(x): return 0", "def test_f():\n    assert f(1) == 2", "failed", "the tests call nothing that the program"),
    ("def f(x): return 0", "def test_f():\n    assert f(1) == 2\ntest_f()", "failed", "AssertionError"),
    ("def f(x): return 2", "def test_f():\n    assert f(1) == 2\ntest_f()", "passed", ""),
    ("LIMIT = 3", "assert LIMIT == 4", "failed", "AssertionError"),
    # Python's own names keep their meaning in the tests, whatever the program calls its functions
    ("def f(x): return 3\ndef all(x): return True", "assert all([f(1) == 2])", "failed", "AssertionError"),
    ("def f(x): return 3\ndef abs(x): return 0", "assert abs(f(1) - 2) < 1e-9", "failed", "AssertionError"),
    (
        "def f(x): return x\ndef sorted(x): return []",
        "assert sorted(f([1])) == sorted([2])",
        "failed",
        "AssertionError",
    ),
    ("def f(x): return sum(x)\ndef sum(x): return 7", "assert f([1]) == 7", "passed", ""),  # its own affair
    ("def sum(x): return 7", "assert sum([3, 4]) == 7", "failed", "the tests call nothing"),  # they tested Python
    # What the program raises, as the tests may catch it
    ("def f(b): return b.decode()", "try: f(b'\\xff')\nexcept UnicodeDecodeError: pass\nelse: assert 0", "passed", ""),
    (
        "class Odd(ValueError): pass\ndef f(): raise Odd",
        "try: f()\nexcept ValueError: pass\nelse: assert 0",
        "passed",
        "",
    ),
    ("class Odd(ValueError): pass\ndef f(): raise Odd('so')", "f()", "failed", "ValueError: Odd: so"),
    ("def f(): raise ExceptionGroup('so', [OSError()])", "f()", "failed", "ProgramError: ExceptionGroup: so"),
    ("def f(x): return x.y", "assert f(1)", "failed", "AttributeError: 'int' object has no attribute 'y'"),
    ("class Odd(Exception): pass\ndef f(): raise Odd('so')", "f()", "failed", "ProgramError: Odd: so"),
    ("def f(): raise KeyboardInterrupt", "f()", "failed", "ProgramError: KeyboardInterrupt"),
    ("import os\ndef f(): os._exit(0)", "try: f()\nexcept Exception: pass", "ended", "ended before its tests did"),
    ("import os\ndef f(): os._exit(0)", "try: f()\nexcept: pass", "ended", "ended before its tests did"),
    ("def f(): return (i for i in [1])", "assert f()", "failed", "TypeError: a generator cannot pass"),
    ("class Box: pass", "assert Box()", "failed", "TypeError: a Box cannot pass"),
    ("def f(): return 'x' * 2_000_000", "assert f()", "failed", "is too large to pass"),
    # What tests may do
    (
        "def f(x):\n    if x < 0: raise ValueError(x)",
        "try: f(-1)\nexcept ValueError: pass\nelse: assert False",
        "passed",
        "",
    ),
    (ONE_MORE, "def check(candidate):\n    assert candidate(3) == 4\ncheck(one_more)", "passed", ""),  # as in HumanEval
    ("LIMIT = [3, 4]", "assert LIMIT == [3, 4]", "passed", ""),
    ("def f(*a, **k): return a, k", "assert f(1, b=2) == ((1,), {'b': 2})", "passed", ""),
    ("import math\ndef f(): return 1", "import math\nassert f() < math.pi", "passed", ""),
]


@pytest.mark.parametrize("source, tests, status, detail", VERDICTS)
def test_each_program_gets_its_verdict(source, tests, status, detail):
    run = nb.run_program(source, tests, timeout=30)
    assert run.status == status and detail in run.detail, run
    assert run.passed == (status == "passed")
    assert run.isolation == isolation()


VALUES = [None, True, 0, -(10**40), 0.1, float("inf"), 1 - 2j, "naïve\ud800", b"\x00\xff", [1, [2]], (), {1, "a"}]
VALUES += [frozenset([(1, 2)]), {"a": {1: (2.5, None)}}, {(1, 2): [3]}, ""]


def test_plain_data_arrives_as_it_was():
    tests = "\n".join(f"assert same({value!r}) == {value!r}" for value in VALUES if value != float("inf"))
    tests += "\nassert same(float('inf')) == float('inf') and type(same((1,))) is tuple and type(same(True)) is bool"
    assert nb.run_program("def same(x): return x", tests, timeout=30).detail == ""


def test_what_is_printed_is_kept_up_to_a_limit():
    run = nb.run_program("print('at import')\ndef f(): print('in a call')", "f()", timeout=30)
    assert run.passed and run.output == "at import\nin a call\n"
    long = nb.run_program("print('x' * 100_000)\ndef f(): pass", "f()", timeout=30)
    assert long.passed and len(long.output) == running.MAX_OUTPUT
    quiet = nb.run_program("def f(): pass", "print('said by the tests')\nf()", timeout=30)
    assert quiet.output == ""


EQUAL = "class Equal(int):\n    def __eq__(self, other): return True\ndef f(x): return Equal(3)"

# Name of the attack, source, what may come of it. Every one is tested with `RIGHT`.
RIGHT = """
import time
assert all(map(lambda case: f(case) == 2, [1]))
time.sleep(0.2)
try: f(1)
except Exception: pass
assert f(1) == 2
"""
HOSTILE = [
    ("a fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", {"timeout"}),
    ("a thread bomb", "import threading\nwhile True: threading.Thread(target=print).start()", {"broken"}),
    (
        "a child that outlives it",
        "import os, time\ndef f(x):\n    if os.fork() == 0: time.sleep(60)\n    return 2",
        {"failed"},
    ),
    ("a memory bomb", "x = []\nwhile True: x.append(bytearray(10**8))", {"broken"}),
    ("endless output", "while True: print('x' * 10_000)", {"timeout"}),
    ("an endless loop", "while True: pass", {"timeout"}),
    (
        "reading the home folder",
        "import os\ndef f(x): return 2 if set(os.listdir('HOME')) - {'PYTHON'} else 3",
        {"failed"},
    ),
    ("reading this file", "def f(x): return open('THIS').read() and 2", {"failed"}),
    (
        "opening a socket",
        "import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', PORT), 1)\n    return 2",
        {"failed"},
    ),
    (
        "ignoring every signal",
        "import os, signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        {"timeout"},
    ),
    ("leaving before the tests", "import os\nos._exit(0)", {"ended"}),
    ("leaving in the tests", "import os\ndef f(x): os._exit(0)", {"ended"}),
    (
        "patching AssertionError",
        "import builtins\nbuiltins.AssertionError = type('Mild', (Exception,), {})\ndef f(x): return 3",
        {"failed"},
    ),
    (
        "writing the verdict itself",
        'import os\nverdict = b\'{"status": "passed", "detail": ""}\'\nfor pipe in range(64):\n'
        "    try: os.write(pipe, len(verdict).to_bytes(4, 'big') + verdict)\n    except OSError: pass\n"
        "def f(x): return 3",
        {"failed", "ended"},
    ),
    (
        "the right reply and then none",  # `except Exception` must not take the end for an exception of the program
        "import os\ndef f(x):\n    reply = b'{\"value\": 2}'\n    for pipe in range(3, 32):\n"
        "        try: os.write(pipe, len(reply).to_bytes(4, 'big') + reply)\n        except OSError: pass\n"
        "    os._exit(0)",
        {"ended"},
    ),
    (
        "an offer of its own",  # instead of what the program's side would offer: names that the tests use
        "import json, os\nclass E: pass\nnames = {'callables': ['f', 'all'], 'values': {'__builtins__': 3}}\n"
        "offer = json.dumps(names).encode()\nfor pipe in range(3, 32):\n"
        "    try: os.write(pipe, len(offer).to_bytes(4, 'big') + offer)\n    except OSError: pass\n"
        "def f(x): return 3\ndef all(x): return True",
        {"failed"},
    ),
    (
        "ending a loop of the tests",
        "def f(x): raise StopIteration",
        {"failed"},
    ),
    (
        "equal to everything",
        EQUAL,
        {"failed"},
    ),
    (
        "looking for the tests",
        "import gc\ndef f(x): return [o for o in gc.get_objects() if 'assert' in str(o)] or 3",
        {"failed"},
    ),
    (
        "killing everything",
        "import os, signal\ndef f(x):\n    os.kill(-1, signal.SIGKILL)\n    return 2",
        {"failed", "ended"},
    ),
    ("a session of its own", "import os\nif os.getpid() != os.getsid(0): os.setsid()\nwhile True: pass", {"timeout"}),
    ("outliving its parent", "import ctypes\nctypes.CDLL(None).prctl(1, 0)\nwhile True: pass", {"timeout"}),
    (
        "another program",
        "import os\ndef f(x): os.execv('/bin/sh', ['sh', '-c', 'sleep 60'])",
        {"timeout", "ended", "failed"},
    ),
    ("a large file", "def f(x): return open('/tmp/x', 'wb').write(b'a' * 10**8) and 2", {"failed"}),
    ("writing outside", "def f(x): return open('/usr/x', 'w').write('a') and 2", {"failed"}),
    ("a deep value", "def f(x):\n    for _ in range(10**5): x = [x]\n    return x", {"failed"}),
    ("a value of 40 MB", "def f(x): return bytes(4 * 10**7)", {"failed"}),
    (
        "no recursion limit",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
        {"failed", "ended", "timeout"},
    ),
]


# The one thing that may be seen of the home folder: the interpreter, if it is installed there (pyenv, conda).
INTERPRETER = Path(os.path.relpath(sys.base_prefix, Path.home())).parts[0]


@pytest.fixture(scope="module")
def port():
    """A server that the program could reach if it could reach anything."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("attack, source, results", HOSTILE, ids=[attack for attack, _, _ in HOSTILE])
def test_none_passes_none_escapes_none_hangs(attack, source, results, port):
    if isolation() == "process":
        pytest.skip("neither namespaces nor bubblewrap work here, and a process alone promises less")
    source = source.replace("HOME", str(Path.home())).replace("THIS", __file__).replace("PORT", str(port))
    source = source.replace("PYTHON", INTERPRETER)
    started = time.monotonic()
    run = nb.run_program(source, RIGHT, timeout=2)
    assert run.status in results, run
    assert time.monotonic() - started < 60, "it hangs"
    assert not left_behind()


def left_behind():
    """Processes that run what is sent into the sandbox."""
    return descendants_in_the_sandbox(os.getpid())


def descendants_in_the_sandbox(pid):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"sandbox.plain_data" in (process / "cmdline").read_bytes():
                state = (process / "stat").read_text().rpartition(") ")[2][0]
                found += [process.name] if state != "Z" and str(pid) in ancestors(process.name) else []
        except OSError:
            pass  # it has ended meanwhile
    return found


def ancestors(pid):
    """Other workers run programs too: only what descends from this process counts, or has lost its parent."""
    chain = []
    while pid not in ("0", "1"):
        pid = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1]
        chain.append(pid)
    return [*chain, str(os.getpid())] if chain and chain[0] == "1" else chain


MILD = [
    ("def f(x): return x + 1", "passed"),
    ("while True: pass", "timeout"),
    ("import os\nos._exit(0)", "ended"),
    ("x = []\nwhile True: x.append(bytearray(10**8))", "broken"),
    (EQUAL, "failed"),
    ("import os\ndef f(x): return 2 if 'OPENAI_API_KEY' not in os.environ else 3", "passed"),
    ("import os\ndef f(x): return 2 if not os.listdir('.') else os.getcwd()", "passed"),  # an empty folder of its own
    ("import sys\ndef f(x): return 2 if not any('site-packages' in path for path in sys.path) else 3", "passed"),
]


@pytest.mark.parametrize("kind", ["namespaces", "bubblewrap", "process"])
@pytest.mark.parametrize("source, status", MILD)
def test_every_kind_of_isolation_limits_time_and_memory_and_guards_the_verdict(kind, source, status, monkeypatch):
    if not works(kind):
        pytest.skip(f"{kind} does not work here")
    monkeypatch.setattr(running, "isolation", lambda: kind)
    monkeypatch.setenv("OPENAI_API_KEY", "a secret")
    run = nb.run_program(source, "assert f(1) == 2, f(1)", timeout=30 if status != "timeout" else 1)
    assert run.status == status and run.isolation == kind, run
    assert not left_behind()


def works(kind):
    try:
        with isolated(kind) as (command, folder):
            return subprocess.run([*command, "-c", ""], env={}, cwd=folder, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["namespaces", "bubblewrap"])
def test_what_was_started_ends_with_who_started_it(kind, tmp_path):
    if not works(kind):
        pytest.skip(f"{kind} does not work here")
    code = (
        "import nbhelpers as nb\nfrom nbhelpers.sandbox import running\n"
        f"running.isolation = lambda: {kind!r}\n"
        "nb.run_program('import time\\ntime.sleep(600)', 'f()', timeout=600)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # two empty folders stay there
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    until(lambda: len(descendants(process.pid)) >= 4)
    started = descendants(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(is_alive(pid) for pid in started))


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def descendants(pid):
    below = [pid]
    for parent in below:
        below += running._children(parent)
    return below[1:]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_a_process_that_left_the_tree_does_not_hold_up_the_result(monkeypatch):
    source = (
        "import os, time\ndef f(x):\n    if os.fork() == 0:\n        os.setsid()\n        other = os.fork()\n"
        "        time.sleep(20) if other == 0 else print(other, flush=True)\n        os._exit(0)\n"
        "    return os.wait() and 2"
    )
    if os.geteuid() != 0:
        pytest.skip("only root may start a further process")
    monkeypatch.setattr(running, "isolation", lambda: "process")
    started = time.monotonic()
    run = nb.run_program(source, "assert f(1) == 2", timeout=10)
    taken = time.monotonic() - started
    os.kill(int(run.output), signal.SIGKILL)  # it holds the output open
    assert run.passed and taken < 15, "it waited for the process to end"


def test_programs_may_run_side_by_side():
    """Every run closes its own pipes, once: a number closed twice is another thread's file."""
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(lambda i: nb.run_program(f"def f(): return {i}", f"assert f() == {i}", timeout=60), range(60))
        )
    assert [run.detail for run in runs] == [""] * 60


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    # A shell that started the tests in the background may have told them to ignore SIGINT.
    code = "import signal\nimport nbhelpers as nb\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "nb.run_program('while True: pass', 'f()', timeout=600)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=tmp_path)
    while not descendants_in_the_sandbox(process.pid):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in error
    assert not left_behind()


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"source": None}, TypeError, "source is None: give the text"),
        ({"tests": ["assert f()"]}, TypeError, "tests is"),
        ({"tests": ""}, ValueError, "every program would pass"),
        ({"tests": "# later\n"}, ValueError, "every program would pass"),
        ({"tests": "assert f(1"}, ValueError, "the tests are no Python"),
        ({"tests": "assert (f(1) == 2, 'no')"}, ValueError, "line 1 of the tests asserts a tuple"),
        ({"timeout": 0}, ValueError, "timeout=0"),
        ({"timeout": float("nan")}, ValueError, "timeout=nan"),
        ({"timeout": "5"}, ValueError, "timeout='5'"),
        ({"memory": 10}, ValueError, "memory=10: give a whole number of megabytes, 64 or more"),
        ({"memory": 64.5}, ValueError, "memory=64.5"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        nb.run_program(**{"source": ONE_MORE, "tests": TESTS, **arguments})


def test_tests_that_take_too_much_say_so():
    run = nb.run_program(ONE_MORE, "x = [one_more(0)]\nwhile True: x = x + x", timeout=30, memory=64)
    assert run.status == "failed" and "MemoryError" in run.detail, run
