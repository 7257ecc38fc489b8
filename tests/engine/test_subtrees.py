"""Requests are cut so that nothing is lost, little is read twice, and parts weigh the same."""

import numpy as np
import pytest
from tiny_models import WIDER, model_of

from nbhelpers.engine import Request, balanced_subtrees, deal, subtrees, whole_subtrees
from nbhelpers.engine.packed import request_tree


@pytest.fixture(scope="module")
def lm():
    return model_of("Llama", **WIDER)


def like_a(questions: int, *, trunk: int = 390, question: int = 50, answer: int = 8, seed: int = 0) -> list[Request]:
    """Solved examples, a question after them, four answers to each; shuffled."""
    rng = np.random.default_rng(seed)
    examples = rng.integers(0, 400, trunk)
    requests = []
    for _ in range(questions):
        context = np.concatenate([examples, rng.integers(0, 400, question)])
        for _ in range(4):
            ids = np.concatenate([context, rng.integers(0, 400, answer)]).astype(np.int32)
            requests.append(Request(ids, len(context)))
    return [requests[i] for i in rng.permutation(len(requests))]


def unrelated(count: int) -> list[Request]:
    rng = np.random.default_rng(1)
    return [Request(rng.integers(0, 400, n).astype(np.int32), n - 3) for n in rng.integers(20, 300, count)]


def distinct_tokens(requests: list[Request]) -> int:
    return len(request_tree(requests).tokens) if requests else 0


CASES = {
    "a trunk": lambda: like_a(800),
    "no trunk": lambda: like_a(300, trunk=0),
    "unrelated": lambda: unrelated(400),
    "one": lambda: unrelated(1),
    "equal beginnings of one another": lambda: [Request(np.arange(n, dtype=np.int32), 1) for n in range(2, 60)],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_every_request_is_in_one_piece_whose_tokens_are_counted(lm, case, engine):
    requests = CASES[case]()
    shared = engine == "auto" and distinct_tokens(requests) <= 0.9 * sum(r.read for r in requests)
    cuts = [whole_subtrees(lm, requests, engine), *(balanced_subtrees(requests, k, engine) for k in (1, 2, 3, 7))]
    for pieces in cuts:
        assert sorted(i for piece in pieces for i in piece.numbers) == list(range(len(requests)))
        for piece in pieces:
            inside = [requests[i] for i in piece.numbers]
            assert piece.tokens == (distinct_tokens(inside) if shared else sum(r.read for r in inside))


@pytest.mark.parametrize("case", ["a trunk", "no trunk"])
def test_pieces_read_less_than_two_percent_again(lm, case):
    requests = CASES[case]()
    pieces = whole_subtrees(lm, requests)
    assert len(pieces) > 1
    assert sum(piece.tokens for piece in pieces) <= 1.01 * distinct_tokens(requests)
    assert all(piece.tokens >= subtrees.LEAST for piece in pieces[:-1])


def test_a_question_stays_in_one_piece(lm):
    requests = like_a(800)
    piece_of = {i: number for number, piece in enumerate(whole_subtrees(lm, requests)) for i in piece.numbers}
    questions: dict[bytes, set[int]] = {}
    for i, request in enumerate(requests):
        questions.setdefault(request.ids[: request.first].tobytes(), set()).add(piece_of[i])
    assert all(len(pieces) == 1 for pieces in questions.values())


def test_pieces_of_many_tokens_end_although_they_share_a_lot(lm):
    """A trunk of 1,000 tokens would make pieces of 128,000; they end at 65,536."""
    pieces = whole_subtrees(lm, like_a(2_000, trunk=1_000))
    assert len(pieces) > 1 and max(piece.tokens for piece in pieces) < 70_000


def test_without_anything_shared_pieces_are_whole_forward_passes_of_the_plain_engine(lm):
    from nbhelpers.engine.batches import group_by_length

    requests = unrelated(400)
    batches = list(group_by_length([request.read for request in requests], 1_024))
    pieces = whole_subtrees(lm, requests)
    assert len(pieces) > 3
    assert [i for piece in pieces for i in piece.numbers] == [i for batch in batches for i in batch]
    ends = np.cumsum([len(batch) for batch in batches])
    assert set(np.cumsum([len(piece.numbers) for piece in pieces])) <= set(ends)


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize("case", ["a trunk", "no trunk", "unrelated"])
def test_parts_weigh_the_same(case, parts):
    tokens = [piece.tokens for piece in balanced_subtrees(CASES[case](), parts)]
    assert len(tokens) == parts
    assert max(tokens) <= 1.03 * sum(tokens) / parts, tokens


def test_more_parts_than_requests_leave_some_empty():
    pieces = balanced_subtrees(like_a(1), 9)
    assert len(pieces) == 9 and sorted(len(piece.numbers) for piece in pieces)[:5] == [0] * 5
    assert balanced_subtrees([], 3) == [subtrees.Piece([], 0)] * 3


def test_no_requests_no_pieces(lm):
    assert whole_subtrees(lm, []) == []


def test_the_largest_are_dealt_first():
    assert deal([1, 5, 3, 3], 2) == [[1, 0], [2, 3]]
    assert deal([], 2) == [[], []]
