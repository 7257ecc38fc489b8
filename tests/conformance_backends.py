"""Backends over models whose answers are known: a right one, and others that are each wrong in one way."""

import math
import time
from types import SimpleNamespace

import numpy as np

from nbhelpers.conformance.request_list import Request
from nbhelpers.conformance.truth import RIGHT, Convention, Truth

_truths: dict[str, Truth] = {}


def truth_of(architecture: str) -> Truth:
    """Shared, because it remembers the texts that it has read."""
    return _truths.setdefault(architecture, Truth(architecture))


def request(pair) -> Request:
    return Request("", *pair)


def one_by_one(total):
    """A backend from a function of one pair."""
    return lambda pairs: [total(pair) for pair in pairs]


def right(architecture, convention=RIGHT):
    truth = truth_of(architecture)
    return one_by_one(lambda pair: truth.total(request(pair), convention))


def with_convention(**options):
    return lambda architecture: right(architecture, Convention(**options))


def read(architecture, ids, places, table=None):
    """The sum of the log-probabilities of the tokens at these places."""
    table = truth_of(architecture)._table(ids) if table is None else table
    return math.fsum(table[place - 1, ids[place]] for place in places)


# --- one request at a time -------------------------------------------------------------------------------------------


def empty_prompt_is_worth_nothing(architecture):
    score = right(architecture)
    return one_by_one(lambda pair: score([pair])[0] if pair[0] else 0.0)


def doubles_a_written_start(architecture):
    """As a tokenizer that puts <s> before a text which already begins with it."""
    score, twice = right(architecture), right(architecture, Convention(starts=1))
    return one_by_one(lambda pair: (twice if pair[0].startswith("<s>") else score)([pair])[0])


def cuts_windows(architecture, window=64):
    """Reads the last 64 tokens, and does not say so."""
    truth = truth_of(architecture)

    def total(pair):
        ids, first = truth.row(request(pair))
        lost = max(0, len(ids) - window)
        return read(architecture, ids[lost:], range(max(first - lost, 1), len(ids) - lost))

    return one_by_one(total)


def cuts_only_what_is_too_long(architecture):
    return cuts_windows(architecture, window=128)


def refuses_long_texts(architecture):
    """A limit of 100 tokens, which it reports: text as long as the context cannot be scored."""
    truth, score = truth_of(architecture), right(architecture)

    def total(pair):
        if len(truth.row(request(pair))[0]) > 100:
            raise ValueError("more than 100 tokens")
        return score([pair])[0]

    return one_by_one(total)


def in_bfloat16(architecture):
    """Weights rounded as bfloat16 rounds them, and called float32."""
    truth = Truth(architecture)
    truth.weights = {
        name: (w.view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32) for name, w in truth.weights.items()
    }
    return one_by_one(lambda pair: truth.total(request(pair)))


def log_of_probabilities(architecture):
    """log(softmax + 1e-9), so that nothing is too unlikely."""
    truth = truth_of(architecture)

    def total(pair):
        ids, first = truth.row(request(pair))
        return read(architecture, ids, range(first, len(ids)), np.log(np.exp(truth._table(ids)) + 1e-9))

    return one_by_one(total)


def one_token_is_nothing(architecture):
    """Its slice of the answer is empty where the answer has one token."""
    truth = truth_of(architecture)
    return one_by_one(lambda pair: 0.0 if truth.scored(request(pair)) == 1 else truth.total(request(pair)))


def noise(architecture):
    """Numbers of another model: no known fault explains them."""
    return one_by_one(lambda pair: -float(1 + sum((" ".join(pair)).encode()) % 97))


def in_unit(convert):
    """The right numbers, converted."""

    def make(architecture):
        truth = truth_of(architecture)

        def total(pair):
            return convert(truth.total(request(pair)), truth.scored(request(pair)))

        return one_by_one(total)

    return make


# --- in company -------------------------------------------------------------------------------------------------------


def pads_left_without_mask(architecture):
    """Every row is filled up to the longest with token 0, which is read like any other."""
    truth = truth_of(architecture)

    def score(pairs):
        rows = [truth.row(request(pair)) for pair in pairs]
        longest = max(len(ids) for ids, _ in rows)
        totals = []
        for ids, first in rows:
            pad = longest - len(ids)
            totals.append(read(architecture, [0] * pad + ids, range(pad + first, longest)))
        return totals

    return score


def sorts_and_forgets(architecture):
    """Longest first, as good harnesses do; the results come back in that order."""
    score = right(architecture)
    return lambda pairs: score(sorted(pairs, key=lambda pair: -len("".join(pair))))


def depends_on_the_place(architecture):
    score = right(architecture)
    return lambda pairs: [total + 0.01 * place for place, total in enumerate(score(pairs))]


def only_small_batches(architecture):
    score = right(architecture)

    def some(pairs):
        if len(pairs) > 8:
            raise MemoryError("out of memory")
        return score(pairs)

    return some


def one_window_for_the_same_text(architecture):
    """As lm-eval 0.4.13 with logits_cache: texts of the same tokens share the logits that the first one needed."""
    truth = truth_of(architecture)

    def score(pairs):
        windows, totals = {}, []
        for pair in pairs:
            ids, first = truth.row(request(pair))
            window = windows.setdefault(
                tuple(ids), truth._table(ids)[first - 1 : -1]
            )  # rows for the first one's answer
            totals.append(math.fsum(row[token] for row, token in zip(window, ids[first:], strict=False)))
        return totals

    return score


def no_logits_for_what_was_read(architecture):
    """A prefix cache across calls: what is in it is not computed again, and so has no logits."""
    truth, seen = truth_of(architecture), []

    def total(pair):
        ids, first = truth.row(request(pair))
        known = max((shared(ids, before) for before in seen), default=0)
        seen.append(ids)
        return read(architecture, ids, range(max(first, min(known, len(ids) - 1)), len(ids)))

    return one_by_one(total)


def shared(a, b) -> int:
    """How many tokens two rows begin with together."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def second_asking_is_empty(architecture):
    """Whoever asks again gets what is left to compute: nothing."""
    score, seen = right(architecture), set()

    def total(pair):
        known = pair in seen
        seen.add(pair)
        return 0.0 if known else score([pair])[0]

    return one_by_one(total)


def keyed_by_the_whole_text(architecture):
    """Its cache knows prompt and answer joined, and so confuses one text cut at two places."""
    score, found = right(architecture), {}
    return one_by_one(lambda pair: found.setdefault("".join(pair), score([pair])[0]))


def remembers_the_prompt_alone(architecture):
    """Its cache forgets to look at the answer, in one call."""
    score = right(architecture)

    def some(pairs):
        found = {}
        return [found.setdefault(pair[0], score([pair])[0]) for pair in pairs]

    return some


def drops_repeats(architecture):
    score = right(architecture)
    return lambda pairs: score(list(dict.fromkeys(pairs)))


def races(architecture):
    """One slot for the request that is worked on, shared by all threads."""
    score, slot = right(architecture), SimpleNamespace()

    def total(pair):
        slot.pair = pair
        time.sleep(0.002)
        return score([slot.pair])[0]

    return one_by_one(total)
