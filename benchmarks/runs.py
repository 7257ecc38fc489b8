"""Runs of the benchmark: each has an identifier, every table names the run it is from, and a run that stopped goes on.

A file of results holds the runs ("runs"), which run each part is from ("run_of"), the measurements by precision, and
what a part that is not finished has found so far ("unfinished"). A part replaces the one of an earlier run when it is
complete, not before. A run goes on only where nothing that matters has changed: the machine, the versions of the
libraries, the code that is measured or measures, the model and the options.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# The code that computes or times anything. Reports may change between two halves of a run.
MEASURED = ("nbhelpers/**/*.py", *(f"benchmarks/{name}.py" for name in ("comparisons", "host", "worker", "workloads")))

Results = dict[str, Any]


def code_in_use(root: Path = HERE.parent) -> dict[str, str]:
    """The commit, if git knows it, and a hash of the code itself, which tells uncommitted changes apart."""
    digest = hashlib.sha256()
    for pattern in MEASURED:
        for path in sorted(root.glob(pattern)):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    found = {"code": digest.hexdigest()[:12]}
    if not shutil.which("git"):
        return found
    asked = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found | ({"commit": asked.stdout.strip()} if asked.returncode == 0 else {})


def read(file: Path) -> Results:
    """The results in a file, or empty ones; those from before runs had identifiers are one run of no name."""
    results: Results = json.loads(file.read_text()) if file.exists() else {"runs": {}, "run_of": {}}
    if "runs" not in results:
        about = {name: results.pop(name, None) for name in ("machine", "model")}
        results["runs"] = {"unnumbered": {**about, "finished": True}}
        results["run_of"] = {
            f"{p}/{part}": "unnumbered" for p in ("float32", "bfloat16") for part in results.get(p, {})
        }
    return results


def write(file: Path, results: Results) -> None:
    """All or nothing: a run that is killed while it writes leaves the file as it was."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(file)


def begin(results: Results, about: dict[str, Any], options: dict[str, Any]) -> str:
    """A new run and its identifier. What an earlier one left unfinished is forgotten."""
    now = datetime.now(UTC)
    base = name = f"{now:%Y-%m-%d-%H%M}"
    tries = 1
    while name in results["runs"]:
        tries += 1
        name = f"{base}-{tries}"
    results.pop("unfinished", None)
    results["runs"][name] = {**about, "options": options, "begun": f"{now:%Y-%m-%d %H:%M} UTC", "seconds": {}}
    return name


def go_on(results: Results, about: dict[str, Any]) -> str:
    """The identifier of the last run, if it has something left to do and nothing has changed since.

    Raises
    ------
    ValueError
        If there is no such run; the message says what differs.
    """
    name, run = next(reversed(results["runs"].items()), ("", {"finished": True}))
    if run.get("finished"):
        raise ValueError("there is no unfinished run to go on with: start one without --resume")
    changed = list(differences(run, about))
    if changed:
        raise ValueError(
            f"run {name} cannot go on, because a table must come from one run and this has changed: "
            f"{'; '.join(changed)}. Go back to what it was, or start a new run without --resume"
        )
    return name


def differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> Iterable[str]:
    """What has changed, as `machine torch: 2.12.0 then, 2.13.0 now`. A commit may change, if the code does not."""
    for key in sorted(now.keys() - {"commit"}):
        then, new = before.get(key), now[key]
        if isinstance(then, dict) and isinstance(new, dict):
            yield from differences({**dict.fromkeys(new), **then}, {**dict.fromkeys(then), **new}, f"{path}{key} ")
        elif then != new:
            yield f"{path}{key}: {then} then, {new} now"


def keep(
    results: Results, run: str, precision: str, part: str, found: Any, seconds: float, complete: bool = False
) -> None:
    """What a part has found in so many seconds; a complete part takes the place of an earlier run's."""
    label = f"{precision}/{part}"
    if not complete:
        results["unfinished"] = {"run": run, "part": label, "found": found, "seconds": round(seconds, 1)}
        return
    results.pop("unfinished", None)
    results.setdefault(precision, {})[part] = found
    results["run_of"][label] = run
    results["runs"][run]["seconds"][label] = round(seconds, 1)


def so_far(results: Results, run: str, precision: str, part: str) -> tuple[Any, float]:
    """What this run had found when it stopped in the middle of a part, and the seconds spent on it; else None and 0."""
    left = results.get("unfinished", {})
    if (left.get("run"), left.get("part")) != (run, f"{precision}/{part}"):
        return None, 0.0
    return left["found"], left["seconds"]


def of_one_run(results: Results, precision: str, parts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The parts of a table by their run, newest run first: a table is made of the parts of one of them."""
    found: dict[str, dict[str, Any]] = {}
    order = list(results["runs"])
    for part in parts:
        if part in results.get(precision, {}):
            found.setdefault(results["run_of"][f"{precision}/{part}"], {})[part] = results[precision][part]
    return dict(sorted(found.items(), key=lambda item: -order.index(item[0])))
