"""The command `nbhelpers-lm-eval`: lm-evaluation-harness with our model among its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

HELP = """\
usage: nbhelpers-lm-eval [run] --tasks TASK [TASK ...] [--model_args NAME=VALUE ...] [--difference-report FILE]
                         [any option of lm-eval]

lm-evaluation-harness, with the model `nbhelpers` as its default: the same tasks, prompts and metrics, scored by an
engine that reads every common beginning once.

  nbhelpers-lm-eval --tasks hellaswag                                    the embedded model, no Hub for the weights
  nbhelpers-lm-eval --tasks mmlu --num_fewshot 5 --model_args pretrained=gpt2 \\
                    --output_path results --log_samples
  nbhelpers-lm-eval --tasks my_task --include_path tasks --model_args pretrained=FOLDER dtype=float32
  nbhelpers-lm-eval --model hf --model_args pretrained=gpt2 --tasks ...  lm-eval's own, to compare

model arguments (NAME=VALUE, separated by spaces or commas):
  pretrained=NAME          a Hub id, a folder or a .gguf file (default: the book's embedded model)
  dtype=NAME               auto (default), float32, bfloat16 or float16
  device=NAME              auto (default), cpu, cuda, cuda:1, mps
  boundary=NAME            joint (default): score every token that overlaps the continuation's characters;
                           lm_eval: repeat the harness's cut, for comparison with published numbers
  token_budget=N           tokens per forward pass: memory against speed (batch_size has no effect)
  max_length=N             tokens read at once, at most the model's context (default)
  enable_thinking=BOOL     for the chat template (with --apply_chat_template)
  think_end_token=TEXT     a generated reply begins after this text
  chat_template_args=...   other options of the template; write all model arguments as JSON then

options of this command:
  --difference-report FILE  write the requests that the two boundaries cut differently, with both scores and the reason,
                            one a line (JSON). Not compared: responses from --use_cache
  -h, --help                this text

Everything else is lm-eval's: `nbhelpers-lm-eval run --help` lists its options, `nbhelpers-lm-eval ls tasks` its tasks.
"""
OPTION = "--difference-report"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run lm-evaluation-harness; `arguments` default to those of the command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given in (["-h"], ["--help"]):
        print(HELP, end="")
        return
    try:
        report, rest = take_report(given)
    except ValueError as error:
        sys.exit(f"nbhelpers-lm-eval: {error}")
    try:
        from .lm_eval_adapter import HarnessLM
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        sys.exit(f"nbhelpers-lm-eval: {error}")
    from lm_eval.__main__ import cli_evaluate

    HarnessLM.default_report = report
    sys.argv = ["nbhelpers-lm-eval", *with_our_model(rest)]
    cli_evaluate()


def take_report(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take our own option out of the arguments: its value, and the rest."""
    rest, report = list(arguments), None
    for number, word in enumerate(rest):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") != OPTION:
            continue
        taken = 1 if equals else 2
        report = value if equals else next(iter(rest[number + 1 : number + 2]), "")
        if not report or report.startswith("--"):
            raise ValueError(f"{OPTION} needs the name of a file: {OPTION} differences.jsonl")
        del rest[number : number + taken]
        break
    return report, rest


def with_our_model(arguments: Sequence[str]) -> list[str]:
    """The arguments, with `--model nbhelpers` where a run names no model and reads no settings from a file."""
    rest = list(arguments)
    if rest[:1] in (["ls"], ["validate"]) or {"-h", "--help"} & set(rest):
        return rest
    names = {word.partition("=")[0] for word in rest}
    if names & {"--model", "-M", "--config", "-C"} or any(word[:2] in ("-M", "-C") for word in rest):
        return rest
    begin = rest[:1] if rest[:1] == ["run"] else ["run"]
    return [*begin, "--model", "nbhelpers", *rest[len(begin) if rest[:1] == ["run"] else 0 :]]


if __name__ == "__main__":
    main()
