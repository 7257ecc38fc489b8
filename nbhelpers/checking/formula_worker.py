"""The other process: compares two formulas a line, until its input ends or it is ended.

Imports math-verify and the standard library only, so that it runs as a file, without the package.
"""

from __future__ import annotations

import json
import logging
import sys


def limit_memory(megabytes: int) -> None:
    """On Linux and macOS; elsewhere only the clock limits this process."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    except (ImportError, ValueError, OSError):
        pass


def compared(answer: str, reference: str) -> tuple[bool | None, str]:
    from math_verify import LatexExtractionConfig, parse, verify

    parsed = []
    for name, text in (("answer", answer), ("reference", reference)):
        found = parse(
            f"${text}$",
            extraction_config=[LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=None,
            raise_on_error=True,
        )
        if not found:
            return None, f"the {name} is no formula that can be read"
        parsed.append(found)
    equal = verify(parsed[1], parsed[0], timeout_seconds=None, raise_on_error=True)
    return bool(equal), "math-verify calls them equal" if equal else "math-verify finds no equality"


def main() -> None:
    limit_memory(int(sys.argv[1]))
    logging.disable(logging.CRITICAL)
    import math_verify  # noqa: F401  before the first pair, whose clock should not pay for it

    print("ready", flush=True)
    for line in sys.stdin:
        answer, reference = json.loads(line)
        try:
            result = compared(answer, reference)
        except Exception as error:  # foreign code on foreign text: whatever happens, this pair is not decided
            result = None, f"math-verify failed ({type(error).__name__})"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
