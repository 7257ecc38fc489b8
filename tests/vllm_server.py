"""A real vLLM on loopback, for as long as a test needs it. `make test-vllm` installs it."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

PYTHON = os.environ.get("NBHELPERS_TEST_VLLM", "")  # the Python of an environment with vLLM
NAME = "known"  # under which it serves whatever model
PATIENCE = 300  # seconds until it must answer
LAST_WORDS = 4000  # characters of its log that an error shows

# No more memory than such models need. A person's key for vLLM stays out.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


class Served(NamedTuple):
    """A server: its base URL, and the number of its group of processes."""

    url: str
    group: int

    def processor_seconds(self) -> float:
        """What its processes have used so far, in user and in system mode (Linux)."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()  # a name may hold spaces
                ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == self.group else 0
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(model: str | Path, log: Path, *arguments: str, python: str = "", threads: int = 1) -> Iterator[Served]:
    """Serve a model in float32. All processes of the server are gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not `vllm serve`: it looks for a package named vllm, and vllm-cpu has another name.
    command = [
        python or PYTHON,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(model),
        "--dtype",
        "float32",
    ]
    command += ["--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port), "--max-num-seqs", "16"]
    command += ["--enforce-eager", *arguments]
    outside = {name: value for name, value in os.environ.items() if name not in ("VLLM_API_KEY", "PYTHONPATH")}
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=outside | ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)},
            cwd=log.parent,
            start_new_session=True,  # its engine and workers are processes of their own: one group to end them all
        )
    try:
        until = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"vLLM did not start; its log ends:\n{log.read_text()[-LAST_WORDS:]}")
            time.sleep(0.5)
        yield Served(f"http://127.0.0.1:{port}/v1", process.pid)
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """Ask the whole group to go, then make it."""
    for request, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, request)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
