"""How a process is shut off: its own file system, network and processes where the operating system allows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

Isolation = Literal["namespaces", "bubblewrap", "process"]

# Nobody's: a user without files or processes, so that root's privileges end and a limit on processes counts.
STRANGER = 61_234

# What an interpreter needs to run. Everything else stays outside.
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")

# $1 is an empty folder that becomes the root; the arguments up to `--` are what may be seen there; the rest is run.
_NEW_ROOT = """
set -e
root=$1; shift
mount -t tmpfs -o size=16m,mode=755,nosuid,nodev tmpfs "$root"
mkdir -m 1777 "$root/tmp"
while [ "$1" != -- ]; do
    if [ -L "$1" ]; then mkdir -p "$root${1%/*}"; cp -P "$1" "$root$1"
    elif [ -d "$1" ]; then
        mkdir -p "$root$1"; mount --bind "$1" "$root$1"; mount -o remount,bind,ro,nosuid,nodev "$root$1"
    else mkdir -p "$root${1%/*}"; : > "$root$1"; mount --bind "$1" "$root$1"; fi
    shift
done
shift
mount -o remount,bind,ro,nosuid,nodev "$root"
mount -t tmpfs -o size=4m,mode=1777,nosuid,nodev tmpfs "$root/tmp"
cd "$root/tmp"
exec chroot "$root" /bin/sh -c 'cd /tmp && exec "$@"' sh "$@"
"""


@lru_cache
def isolation() -> Isolation:
    """The strongest isolation that works here, found by trying.

    Returns
    -------
    "namespaces"
        Linux, through util-linux's ``unshare``: no network, no files but the interpreter's and the system's libraries
        (read-only), no other process in sight, no privileges, no file or process left at the end. Two things of the
        kernel are not shut off: sockets from a virtual machine to its host (AF_VSOCK) and, if you are root, its store
        of keys, where a program can leave a few kilobytes for a later one.
    "bubblewrap"
        The same through ``bwrap``, where it is installed and ``unshare`` is not allowed.
    "process"
        Limits on time, memory and files, and an empty environment. The program runs as you: it can read your files,
        open connections, and leave processes behind.
    """
    for kind in ("namespaces", "bubblewrap"):
        try:
            with isolated(kind) as (command, folder):
                done = subprocess.run(
                    [*command, "-c", "print(6 * 7)"], capture_output=True, timeout=20, env={}, cwd=folder
                )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and done.stdout.strip() == b"42":
            return kind
    return "process"


@contextmanager
def isolated(kind: Isolation) -> Iterator[tuple[list[str], str]]:
    """The beginning of a command line that runs an isolated Python, and a folder for it that is removed afterwards."""
    python = [os.path.realpath(sys.executable), "-I", "-S", "-B"]
    with tempfile.TemporaryDirectory(prefix="nbhelpers-sandbox-") as folder:
        if kind == "process":
            yield python, folder
        elif kind == "bubblewrap":
            yield [*_bubblewrap(), *python], folder
        else:
            yield [*_namespaces(folder), *python], folder


def _namespaces(folder: str) -> list[str]:
    is_root = os.geteuid() == 0
    spaces = [_tool("unshare"), "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--"]
    user = [] if is_root else [_tool("unshare"), "--user", "--map-root-user", "--"]
    with_us = [_tool("setpriv"), "--pdeathsig=KILL", "--"]  # if this process is killed, so is what it has started
    drop = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig=KILL"]
    if is_root:
        drop += [f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    new_root = ["/bin/sh", "-c", _NEW_ROOT, "sh", folder, *_visible(), "/dev/null", "--"]
    return [*user, *with_us, *spaces, *new_root, _tool("setpriv"), *drop, "--"]


def _bubblewrap() -> list[str]:
    places = [part for place in _visible() for part in ("--ro-bind", place, place)]
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    return [_tool("bwrap"), *options, *places, "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp", "--"]


def _visible() -> list[str]:
    """The system's libraries, the interpreter, and its standard library."""
    places = [place for place in _SYSTEM if os.path.lexists(place)]
    for prefix in dict.fromkeys(os.path.realpath(prefix) for prefix in (sys.base_prefix, sys.base_exec_prefix)):
        if not any(Path(prefix).is_relative_to(place) for place in places):
            places.append(prefix)
    return places


def _tool(name: str) -> str:
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if not found:
        raise FileNotFoundError(f"no {name} here")
    return found
