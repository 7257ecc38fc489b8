"""Prepare the embedded model's cache with two small files, as converting the real one takes 10 s and 538 MB.

Everything around the conversion is real: locks, hashes, and how files come and go. The conversion waits until the file
$GO exists, so that a test decides when it ends. Run as a script, this prints the folder.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from nbhelpers import cache, embedded

CONTENT = {"config.json": b"{}\n", "model.safetensors": b"weights"}


def convert(gguf: Path, folder: Path) -> None:
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    while "GO" in os.environ and not Path(os.environ["GO"]).exists():
        time.sleep(0.01)


def install(replace: Callable[[object, str, object], None]) -> None:
    """Put the small files in place of the real ones, by `setattr` or a function like it."""
    replace(embedded, "convert", convert)
    replace(embedded, "FILES", {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()})


if __name__ == "__main__":
    install(setattr)
    cache.PATIENCE = 0.1  # seconds until a process says that it waits
    print(embedded.embedded_folder())
