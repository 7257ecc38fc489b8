"""The command ``nbhelpers-conformance``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..reasons import one_line, reason
from .asking import Score
from .checker import check_arguments, check_backend
from .models import ARCHITECTURES, CONTEXT, write_model, written_architecture

DESCRIPTION = """\
Does a backend return true log-probabilities? Ask it about a tiny model whose numbers are known.

TARGET is what computes them:
  nbhelpers              this package (nbhelpers:packed, nbhelpers:plain: one of its engines), on $NBHELPERS_DEVICE
  transformers           the usual loop over transformers, on the CPU: padded batches, log-softmax
  lm-eval:hf             lm-evaluation-harness, if it is installed, and any of its models that takes pretrained=;
                         more arguments follow a comma: lm-eval:hf,logits_cache=False
  http://localhost:8000/v1
                         a server that serves a model of --write, asked through /completions with echo and logprobs
  FOLDER                 the same as: nbhelpers --folder FOLDER
"""
EPILOG = """\
A local target is tried on every model; they are written into a temporary folder, and nothing is sent anywhere.
A server is tried on the one that it serves:

  nbhelpers-conformance --write /tmp/known --architecture qwen2
  vllm serve /tmp/known --dtype float32 &
  nbhelpers-conformance http://localhost:8000/v1 --folder /tmp/known

Exit status: 0 if every property holds, 1 if one fails or stays undecided, 2 if nothing could be checked.
"""
# A server needs room for a token that it generates.
LONGEST_AT_A_SERVER = CONTEXT - 1


class CannotCheck(Exception):
    """Why nothing could be checked, in a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        check_arguments(options.tolerance, options.concurrency)
        if options.write:
            names = options.architecture or ["llama"]
            if len(names) > 1 or options.target:
                raise CannotCheck("--write writes one model and checks nothing: give one --architecture and no TARGET")
            folder = write_model(options.write, names[0])
            print(f"wrote {folder}")
            return 0
        if not options.target:
            raise CannotCheck("give a TARGET, or --write FOLDER; --help shows examples")
        return _check(options)
    except (CannotCheck, ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"nbhelpers-conformance: {one_line(error, 600)}", file=sys.stderr)
        return 2


def _check(options: argparse.Namespace) -> int:
    target = options.target
    served = target.lower().startswith(("http://", "https://"))
    if target not in ("nbhelpers", "transformers") and os.path.isdir(target):  # there may be folders of these names
        options.folder, target = options.folder or target, "nbhelpers"
    if not served:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before a library that heeds it is imported
    passed = True
    with _models(options, served) as models:
        for name, folder in models:
            score = _server(options, folder) if served else _local(target, folder, options.dtype)
            longest = LONGEST_AT_A_SERVER if served else CONTEXT
            report = check_backend(
                score, name, tolerance=options.tolerance, concurrency=options.concurrency, longest=longest
            )
            print(f"{target} on {report}\n", flush=True)
            passed = passed and report.passed
    print("Every property holds." if passed else "Not every property holds.")
    return 0 if passed else 1


@contextmanager
def _models(options: argparse.Namespace, served: bool) -> Iterator[list[tuple[str, Path | None]]]:
    """The architectures to check, each with the folder of its model."""
    if options.folder:
        names = options.architecture or [written_architecture(options.folder)]
        if len(names) > 1:
            raise CannotCheck("--folder holds one model: give one --architecture, or none")
        yield [(names[0], Path(options.folder))]
    elif served:
        if not options.architecture or len(options.architecture) > 1:
            raise CannotCheck("say which model the server serves: --folder FOLDER, or --architecture and --model")
        yield [(options.architecture[0], None)]
    else:
        with tempfile.TemporaryDirectory(prefix="nbhelpers-conformance-") as scratch:
            names = options.architecture or list(ARCHITECTURES)
            yield [(name, write_model(Path(scratch) / name, name)) for name in names]


def _server(options: argparse.Namespace, folder: Path | None) -> Score:
    from ..servers import Endpoint
    from .served import server_backend

    model = options.model or (None if folder is None else str(folder))
    if model is None:
        raise CannotCheck("say by which name the server knows the model: --model NAME")
    return server_backend(Endpoint(options.target, model, key_variable=options.key_variable, cache=None, retries=2))


def _local(target: str, folder: Path, dtype: str) -> Score:
    try:
        return _set_up(target, folder, dtype)
    except (CannotCheck, ImportError):
        raise
    except Exception as error:  # other libraries raise whatever they like
        raise CannotCheck(f"{target} cannot be set up: {reason(error)}") from error


def _set_up(target: str, folder: Path, dtype: str) -> Score:
    from . import backends

    name, _, rest = target.partition(":")
    if name == "nbhelpers" and rest in ("", "auto", "packed", "plain"):
        return backends.nbhelpers_backend(folder, rest or "auto", dtype)
    if target == "transformers":
        return backends.transformers_backend(folder, dtype)
    if name == "lm-eval" and rest:
        model, _, more = rest.partition(",")
        return backends.lm_eval_backend(folder, model, more)
    raise CannotCheck(
        f"{target!r} is no target: give nbhelpers, transformers, lm-eval:hf, the address of a server, or a folder"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "nbhelpers-conformance",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help="what computes the numbers, see above")
    parser.add_argument(
        "--write", metavar="FOLDER", help="write a model there (llama, or that of --architecture); no check"
    )
    parser.add_argument(
        "--architecture", action="append", choices=list(ARCHITECTURES), help="try this one only; may be repeated"
    )
    parser.add_argument(
        "--folder",
        help="a folder that --write wrote; with --architecture also a converted copy of one, such as a quantised one",
    )
    parser.add_argument("--model", help="the name by which a server knows the model (default: the folder's path)")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="nats per token, default %(default)g")
    parser.add_argument("--dtype", default="float32", help="of nbhelpers and transformers, default %(default)s")
    parser.add_argument("--concurrency", type=int, default=8, help="threads that ask at once, default %(default)s")
    parser.add_argument(
        "--key-variable", default="OPENAI_API_KEY", help="environment variable with a server's key, default %(default)s"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
