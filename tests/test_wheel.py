"""The wheel holds every module of the package: built, unpacked into an empty folder and imported from there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORT_ALL = """
import importlib, pkgutil, nbhelpers
walked = pkgutil.walk_packages(nbhelpers.__path__, "nbhelpers.", onerror=print)
names = ["nbhelpers", *(module.name for module in walked)]
for name in names:
    print(name, importlib.import_module(name).__file__)
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The content of a wheel built from a copy, since a build writes into its source; nothing is fetched."""
    source, wheels, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "unpacked"))
    shutil.copytree(ROOT / "nbhelpers", source / "nbhelpers", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--wheel-dir", str(wheels), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels.glob("nbhelpers-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_holds_the_package_and_nothing_else(unpacked):
    source = {path.relative_to(ROOT) for path in (ROOT / "nbhelpers").rglob("*.py")}
    shipped = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    shipped = {path for path in shipped if not path.parts[0].endswith(".dist-info")}
    assert len(source) > 10
    assert shipped == source | {Path("nbhelpers/py.typed")}


def test_the_wheel_brings_its_commands(unpacked):
    (file,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "nbhelpers-conformance = nbhelpers.conformance.command:main" in file.read_text()


def test_every_module_can_be_imported_from_the_wheel(unpacked, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}  # goes before the installation that .venv points to
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    imported = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    files = {Path(file).relative_to(unpacked) for file in imported.values()}  # or one came from elsewhere
    assert files == {path.relative_to(ROOT) for path in (ROOT / "nbhelpers").rglob("*.py")}
