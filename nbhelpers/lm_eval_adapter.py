"""lm-evaluation-harness on our engine: ``--model nbhelpers``, or ``simple_evaluate(model="nbhelpers")``.

Importing this module registers the model. It needs the extra `lm-eval`; nothing else in the package imports it.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

try:
    importlib.import_module("lm_eval.models")  # first: the harness adds its own models only to an empty registry
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lm_eval":  # something that the harness itself needs
        raise
    raise ModuleNotFoundError(
        "lm-evaluation-harness is not installed: pip install 'lm-eval>=0.4.13', or pip install '.[lm-eval]' in a clone "
        "of the book",
        name="lm_eval",
    ) from None

from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import model_registry
from lm_eval.models.utils import has_bos_prefix

from .engine import Engine, Request
from .harness.differences import (
    BoundaryDifference,
    Cut,
    encode_joint,
    find_differences,
    joined,
    shorten,
    write_differences,
)
from .harness.options import as_model, check_arguments, name_of, refuse_unknown, window_of
from .harness.replies import render_history, write_replies
from .models import LanguageModel
from .request_scores import score_each
from .runs import open_run
from .tokens import with_context

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)

NO_LIMIT = 2_048  # window of a rolling score where a model has no limit of its own: lm-eval's number
PIECE = 512  # requests between two savings, where the harness keeps responses (--use_cache)


class HarnessLM(TemplateLM):
    """A model for lm-evaluation-harness (0.4.13 or later), scored by the engine of this package.

    Parameters
    ----------
    pretrained : str, path or LanguageModel, optional
        As `name` in :func:`nbhelpers.load_model`: a Hub id, a folder, a ``.gguf`` file; by default the embedded model.
        From Python also a model that is loaded already, ``HarnessLM(lm)``.
    dtype, device : str
        As in :func:`nbhelpers.load_model`. Log-probabilities are computed in float32 whatever the precision.
    boundary : "joint" or "lm_eval"
        Where the continuation begins. "joint" scores every token that overlaps its characters, as
        :func:`nbhelpers.score_answers` does. "lm_eval" repeats the harness's cut, for comparison with published
        numbers: it encodes the context alone, counts its tokens, and begins after as many in the whole text. White
        space at the context's end goes to the continuation. Most requests are cut the same way by both.
    token_budget : int, optional
        Tokens per forward pass. It trades memory for speed. `batch_size` and `max_batch_size` of the harness are
        accepted and have no effect.
    cache : path, optional
        A file that keeps every result, as in :func:`nbhelpers.score_answers`. The harness's own ``--use_cache`` keeps
        answers by their text, whatever the model.
    max_length : int, optional
        Tokens the model reads at once, at most its context (the default).
    chat_template_args : mapping, optional
        For the chat template, as in lm-eval's `hf`. Chats are rendered where the harness is told to
        (``--apply_chat_template``).
    enable_thinking : bool, optional
        The same as ``chat_template_args={"enable_thinking": ...}``.
    think_end_token : str, optional
        Text that ends the reasoning, such as ``</think>``: a generated reply begins after its last occurrence.
    difference_report : path, optional
        A file (overwritten) for the requests that the two boundaries cut differently, one
        :class:`~nbhelpers.harness.differences.BoundaryDifference` a line, as JSON. Requests that the harness answers
        from its cache (``--use_cache``) are not looked at.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or out of range, or as :func:`nbhelpers.load_model`. While it runs: if a continuation
        is empty, has no token under ``boundary="lm_eval"``, or is longer than the model's context.

    Notes
    -----
    Contexts that are too long are shortened on the left, as the harness does it, with one warning that counts them.

    A rolling log-likelihood is the harness's: the BOS token (else EOS) stands before the text, windows of `max_length`
    tokens are disjoint, the last one is moved back so that it is full, and the sum is returned. Where a tokenizer adds
    BOS by itself, lm-eval reads it twice and scores the second; ``boundary="lm_eval"`` repeats that, "joint" does not.

    Generation is greedy. Where a task samples (``do_sample`` and a temperature), so do we, with random numbers of our
    own made from the harness's torch seed. Nucleus sampling, beams and penalties are refused.

    The harness starts this model in one process. Explained in the chapter "A Benchmark with the Harness".
    """

    default_report: ClassVar[str | os.PathLike[str] | None] = None  # set by the command nbhelpers-lm-eval

    def __init__(
        self,
        pretrained: str | os.PathLike[str] | LanguageModel | None = None,
        *,
        dtype: Any = "auto",
        device: str | None = "auto",
        boundary: Literal["joint", "lm_eval"] = "joint",
        token_budget: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        max_length: int | None = None,
        chat_template_args: Mapping[str, Any] | None = None,
        enable_thinking: bool | None = None,
        think_end_token: str | None = None,
        difference_report: str | os.PathLike[str] | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        refuse_unknown(unknown)
        check_arguments(boundary, think_end_token, chat_template_args)
        self.lm = as_model(pretrained, device, dtype)
        self.limit = window_of(self.lm, max_length)
        self.boundary = boundary
        self.token_budget = token_budget
        self.cache = cache
        self.think_end_token = think_end_token
        self.chat_template_args = dict(chat_template_args or {})
        if enable_thinking is not None:
            self.chat_template_args["enable_thinking"] = enable_thinking
        self.tokenizer = self.lm.tokenizer
        self._device = self.lm.device
        self._report = difference_report or self.default_report
        if self._report is not None:
            Path(self._report).write_text("")  # a path that cannot be written fails before the work, not after
        if batch_size not in (None, 1, "1"):
            log.info("batch_size=%s has no effect with nbhelpers: its batches go by token_budget", batch_size)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict, additional_config: dict | None = None) -> HarnessLM:
        """The model as the harness makes it: model arguments, then its own options.

        Its command asks for "cuda:0" where nobody chose a device, so that is "auto" here: ``device=cuda:0`` among the
        model arguments insists on it.
        """
        options = {name: value for name, value in (additional_config or {}).items() if value is not None}
        if options.get("device") == "cuda:0":
            options["device"] = "auto"
        return cls(**(options | arg_dict))

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict | None = None) -> HarnessLM:
        """:meth:`create_from_arg_obj` of arguments in one string, ``name=value,name=value``."""
        return cls.create_from_arg_obj(utils.simple_parse_args_string(arg_string), additional_config)

    @property
    def eot_token_id(self) -> int | None:
        """The tokenizer's EOS token."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that nothing precedes: BOS, else EOS."""
        return with_context(self.lm, (), 0, (), "a request without context")[0][0]

    @property
    def max_length(self) -> int:
        """How many tokens the model reads at once."""
        return self.limit or NO_LIMIT

    @property
    def tokenizer_name(self) -> str:
        """Under which the harness keeps rendered chats: the tokenizer, and what the template was told."""
        name = self.tokenizer.name_or_path.replace("/", "__")
        if not self.chat_template_args:
            return name
        return f"{name}-{sha256(json.dumps(self.chat_template_args, sort_keys=True, default=str).encode()).hexdigest()}"

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside the results."""
        from . import __version__

        return {
            "model_num_parameters": self.lm.model.num_parameters(),
            "model_dtype": str(self.lm.dtype),
            "boundary": self.boundary,
            "nbhelpers": __version__,
        }

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as the tokenizer's template renders it.

        As in lm-eval's `hf`, a template that refuses system messages gets the chat without them, with a warning.
        """
        return render_history(self.lm, chat_history, add_generation_prompt, self.chat_template_args)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids as lm-eval's `hf` makes them: with special tokens, unless the text begins with them."""
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        chosen = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, **chosen, verbose=False)

    def cut(self, context: str, continuation: str) -> Cut:
        """Context and continuation as lm-eval cuts them."""
        if context:
            before, after = self._encode_pair(context, continuation)
        else:
            before, after = [self.prefix_token_id], self.tok_encode(continuation, add_special_tokens=False)
            if after[:1] == before:
                before, after = after[:1], after[1:]
        return before, after

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context in nats, and whether greedy decoding writes it."""
        pairs = [request.args for request in requests]
        for request in requests:
            if not request.args[1]:
                raise ValueError(f"{name_of(request)}: the continuation is empty, there is no token to score")
        items = encode_joint(self.lm, pairs) if self.boundary == "joint" or self._report is not None else []
        if self._report is not None:
            write_differences(self._report, requests, find_differences(self.lm, pairs, items, self.cut, self.limit))
        joint = self.boundary == "joint"
        rows = [item.request for item in items] if joint else [joined(*self.cut(*pair)) for pair in pairs]
        for request, row in zip(requests, rows, strict=True):
            if not row.scored:
                raise ValueError(
                    f"{name_of(request)}: lm-eval's cut leaves no token of {request.args[1]!r:.60} after "
                    f"{request.args[0][-30:]!r}, because one token straddles the boundary: use boundary='joint'"
                )
        return self._score(rows, pairs, disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each text as a whole, in nats, summed over disjoint windows."""
        rows, owners, totals = [], [], [0.0] * len(requests)  # an empty text has probability 1
        for number, request in enumerate(requests):
            (text,) = request.args
            windows = utils.get_rolling_token_windows(self._rolling_ids(text), self.prefix_token_id, self.max_length, 1)
            rows += [joined(*utils.make_disjoint_window(window)) for window in windows]
            owners += [number] * (len(rows) - len(owners))
        # Windows begin at different places and share no prefix: there is nothing to pack.
        scored = self._score(rows, [None] * len(rows), disable_tqdm, engine="plain")
        for owner, (total, _) in zip(owners, scored, strict=True):
            totals[owner] += total
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _rolling_ids(self, text: str) -> list[int]:
        if self.boundary == "lm_eval":
            return self.tok_encode(text)
        ids = self.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return ids[1:] if ids[:1] == [self.prefix_token_id] else ids  # a start token of its own is context

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """The harness's own entry for requests that are encoded already."""
        return self._score([joined(*cut) for _, *cut in requests], [pair for pair, *_ in requests], disable_tqdm)

    def _score(
        self,
        rows: Sequence[Request],
        pairs: Sequence[tuple[str, str] | None],
        disable_tqdm: bool,
        engine: Engine = "auto",
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each row in nats, and whether it is greedy; `pairs` is what the harness's cache keeps."""
        fitted = [shorten(self.lm, row, self.limit, f"request {number}") for number, row in enumerate(rows)]
        shortened = sum(len(short.ids) < len(row.ids) for short, row in zip(fitted, rows, strict=True))
        if shortened:
            log.warning(
                "%d of %d requests are longer than the %d tokens that %r reads (the longest has %d): their contexts "
                "are shortened on the left",
                *(shortened, len(rows), self.limit, self.lm.name, max(len(row.ids) for row in rows)),
            )
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(rows)
        settings = {"engine": engine, "token_budget": self.token_budget, "progress": not disable_tqdm}
        with open_run(self.lm, "loglikelihood", self.cache) as run:
            for numbers in self._pieces(fitted):
                found = score_each(self.lm, [fitted[number] for number in numbers], **settings, run=run)
                for number, (logprobs, greedy) in zip(numbers, found, strict=True):
                    answers[number] = math.fsum(logprobs.tolist()), bool(greedy.all())
                    if (pair := pairs[number]) is not None:
                        self.cache_hook.add_partial("loglikelihood", pair, answers[number])
        return answers

    def _pieces(self, rows: Sequence[Request]) -> Iterator[list[int]]:
        """All at once. Where the harness keeps responses, in pieces of similar beginnings, so that a stop loses one."""
        numbers = list(range(len(rows)))
        if self._keeps_responses:
            numbers.sort(key=lambda number: rows[number].ids.astype(">i4").tobytes())
        piece = PIECE if self._keeps_responses else max(1, len(rows))
        return (numbers[first : first + piece] for first in range(0, len(rows), piece))

    @property
    def _keeps_responses(self) -> bool:
        return getattr(self.cache_hook, "dbdict", None) is not None

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to the first stop string."""
        texts = [""] * len(requests)
        settings = {"token_budget": self.token_budget, "progress": not disable_tqdm}
        settings |= {"think_end_token": self.think_end_token, "piece": PIECE if self._keeps_responses else None}
        with open_run(self.lm, "generate_until", self.cache) as run:
            for number, text in write_replies(self.lm, requests, self.limit, **settings, run=run):
                texts[number] = text
                self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return texts


def boundary_differences(lm: LanguageModel, requests: Sequence[tuple[str, str]]) -> list[BoundaryDifference]:
    """The requests that lm-eval cuts elsewhere than we do, with both scores and the reason.

    Parameters
    ----------
    lm : LanguageModel
    requests : sequence of (str, str)
        Contexts with their continuations.
    """
    model = HarnessLM(lm)
    return find_differences(lm, requests, encode_joint(lm, requests), model.cut, model.limit)


if "nbhelpers" not in model_registry:  # a later version of the harness may have found our entry point
    model_registry.register("nbhelpers")(HarnessLM)
