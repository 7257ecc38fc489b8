"""The independent judge of the package's numbers: slow, plain, float64, and without a line of the package.

Its forward passes are those of transformers in float64. `in_numpy` gives it other legs to stand on: the forward passes
of `nbhelpers.conformance.forward`, which share no line with transformers or torch.

One sequence at a time, all logits of the sequence, no batches, no padding. Which tokens belong to an answer is
found by counting bytes, not by the tokenizer's offsets: every tokenizer used in the tests is a byte-level BPE, so
that a token's bytes can be read off its name in the vocabulary.
"""

import copy
from types import SimpleNamespace

import torch


def _bytes_of_vocabulary_letters() -> dict[str, int]:
    """Byte-level BPE writes each byte as one printable letter; this is the table, turned round (GPT-2, 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in printable}
    others = [b for b in range(256) if b not in printable]
    table.update({chr(256 + i): b for i, b in enumerate(others)})
    return table


LETTERS = _bytes_of_vocabulary_letters()


def token_bytes(tokenizer, token_id: int) -> bytes:
    name = tokenizer.convert_ids_to_tokens(token_id)
    if token_id in tokenizer.all_special_ids:
        return name.encode()
    return bytes(LETTERS[letter] for letter in name)


def in_float64(model):
    return copy.deepcopy(model).double().eval()


class InNumPy:
    """Takes the place of a float64 model."""

    device = "cpu"

    def __init__(self, model) -> None:
        self.config = model.config.to_dict()
        self.weights = {name: w.detach().cpu().double().numpy() for name, w in model.state_dict().items()}

    def __call__(self, ids: torch.Tensor) -> SimpleNamespace:
        from nbhelpers.conformance.forward import logprob_table

        return SimpleNamespace(logits=torch.from_numpy(logprob_table(self.config, self.weights, ids[0].tolist()))[None])


def in_numpy(model) -> InNumPy | None:
    """The same model in NumPy, or None if its architecture has no forward pass there."""
    return InNumPy(model) if model.config.model_type in ("gpt2", "llama", "qwen2", "qwen3") else None


@torch.no_grad()
def logprob_table(model64, ids: list[int]) -> torch.Tensor:
    """[len(ids), vocabulary]: row i holds the log-probabilities of what follows ids[: i + 1]."""
    return model64(torch.tensor([ids], device=model64.device)).logits[0].double().log_softmax(-1)


def answer(model64, tokenizer, prompt: str, answer: str, before: list[int], stand_in: int):
    """Token ids, log-probabilities, is_greedy and merged_boundary of an answer, boundary="joint".

    `before` are the special tokens that stand before every prompt; where these are none and the answer begins with
    the very first token, `stand_in` precedes it.
    """
    ids = tokenizer.encode(prompt + answer, add_special_tokens=False)
    prompt_bytes = prompt.encode()
    position, mine, straddles = 0, [], False
    for i, token_id in enumerate(ids):
        end = position + len(token_bytes(tokenizer, token_id))
        if end > len(prompt_bytes):
            mine.append(i)
            straddles = straddles or prompt_bytes[position:].strip(b" ") != b""
        position = end
    assert position == len((prompt + answer).encode()), "the oracle lost a byte"
    return (*_read(model64, before, ids, mine, stand_in), straddles)


def split_answer(model64, tokenizer, prompt: str, answer: str, before: list[int], stand_in: int):
    """The same with prompt and answer encoded apart, boundary="split"; no token can straddle."""
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    answer_ids = tokenizer.encode(answer, add_special_tokens=False)
    mine = range(len(prompt_ids), len(prompt_ids) + len(answer_ids))
    return _read(model64, before, prompt_ids + answer_ids, mine, stand_in)


def _read(model64, before, ids, mine, stand_in) -> tuple[list[int], list[float], bool]:
    if not before and mine[0] == 0:
        before = [stand_in]
    table = logprob_table(model64, before + ids)
    rows = [table[len(before) + i - 1] for i in mine]
    targets = [ids[i] for i in mine]
    logprobs = [row[t].item() for row, t in zip(rows, targets, strict=True)]
    greedy = all(row.argmax().item() == t for row, t in zip(rows, targets, strict=True))
    return targets, logprobs, greedy


def sliding_nats(model64, ids: list[int], before: int, window: int, stride: int) -> float:
    """Negative log-likelihood of `ids`, each token scored in a forward pass of its own.

    Token t of the first window sees everything before it. The k-th later window scores the `stride` tokens that
    follow, and reads the `window` tokens up to the last of them but one.
    """
    everything = [before, *ids]
    nats = 0.0
    for t in range(len(ids)):
        if t < window:
            begin = 0
        else:
            k = (t - window) // stride
            begin = min(window + (k + 1) * stride, len(ids)) - window
        seen = everything[begin : t + 1]
        nats -= logprob_table(model64, seen)[-1, ids[t]].item()
    return nats
