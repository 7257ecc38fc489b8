"""Runs are killed at random moments, and what they kept is right and complete up to the last piece."""

import os
import random
import sqlite3
import time
from collections import Counter
from itertools import chain, pairwise

import killed_run
import pytest

from nbhelpers import prompt_continuations, request_scores
from nbhelpers.engine import subtrees

MOMENTS = int(os.environ.get("NBHELPERS_KILLS", "3"))  # for each of the three functions


@pytest.fixture
def computed(monkeypatch):
    """How many results are computed in this process, and not found."""
    counted = Counter()
    score, write = request_scores.score_requests, prompt_continuations.continue_prompts

    def score_and_count(lm, requests, *args, **options):
        counted["results"] += len(requests)
        return score(lm, requests, *args, **options)

    def write_and_count(lm, prompts, *args, samples, **options):
        counted["results"] += len(prompts) * samples
        return write(lm, prompts, *args, samples=samples, **options)

    monkeypatch.setattr(request_scores, "score_requests", score_and_count)
    monkeypatch.setattr(prompt_continuations, "continue_prompts", write_and_count)
    monkeypatch.setattr(subtrees, "LEAST", 60)
    monkeypatch.setattr(subtrees, "TIMES_SHARED", 1)
    return counted


def rows(path) -> int:
    if not path.exists():
        return 0
    file = sqlite3.connect(path)
    try:
        return file.execute("SELECT count(*) FROM results").fetchone()[0]
    except sqlite3.OperationalError:  # killed before there was a table
        return 0
    finally:
        file.close()


@pytest.mark.parametrize("call", killed_run.CALLS)
def test_a_killed_run_loses_at_most_the_piece_it_was_computing(call, tmp_path, computed):
    lm = killed_run.make_model()  # other weights in memory, equal in content
    expected = killed_run.CALLS[call](lm, None)
    whole = killed_run.start(call, tmp_path / "whole.sqlite", tmp_path / "whole.log")
    begun = time.monotonic()
    whole.join(60)
    piece = (time.monotonic() - begun) / len((tmp_path / "whole.log").read_text().split())  # seconds
    total = rows(tmp_path / "whole.sqlite")
    notes = [int(line) for line in (tmp_path / "whole.log").read_text().split()]
    assert whole.exitcode == 0 and notes[-1] == total > 0 and len(notes) > 10, "many pieces"
    largest = max(after - before for before, after in pairwise(notes))

    rng, kept_each = random.Random(call), []
    for moment in range(MOMENTS):
        path, log = tmp_path / f"{moment}.sqlite", tmp_path / f"{moment}.log"
        process = killed_run.start(call, path, log)
        # A random moment of the run, however busy the machine is: after so many pieces, and a part of the next.
        place = rng.uniform(0, len(notes))
        while process.exitcode is None and len(log.read_text().split()) < int(place):
            time.sleep(0.0005)
        time.sleep(place % 1 * piece)
        process.kill()  # SIGKILL
        process.join(60)
        said = int(log.read_text().rpartition("\n")[0].split()[-1])
        kept = rows(path)
        kept_each.append(kept)
        assert said <= kept <= said + largest, "what was said to be kept is kept, and at most one piece more"
        computed.clear()
        again = killed_run.CALLS[call](lm, path)
        assert computed["results"] == total - kept, "nothing that was kept is computed again"
        assert same(again, expected)
        computed.clear()
        assert killed_run.CALLS[call](lm, path) == again and not computed["results"]
    assert not list(tmp_path.glob("*damaged*"))
    if MOMENTS >= 10:
        assert sum(0 < kept < total for kept in kept_each) >= MOMENTS // 2, kept_each


def same(found, expected) -> bool:
    """Equal up to rounding: pieces are other batches."""
    if hasattr(expected, "nats"):
        return found.tokens == expected.tokens and found.nats == pytest.approx(expected.nats, abs=1e-3)
    if isinstance(expected[0], list):
        found, expected = list(chain(*found)), list(chain(*expected))
    return all(
        one.token_ids == other.token_ids and one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        for one, other in zip(found, expected, strict=True)
    )
