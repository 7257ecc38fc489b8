"""Two processes, as torchrun starts them, share each call: one part each, all results in both, errors in both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import WIDER, model_of

import nbhelpers as nb
from nbhelpers import processes

SCRIPT = Path(__file__).with_name("split_run.py")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What came of each scenario in each process. Everything in it is bounded in time."""
    folder = tmp_path_factory.mktemp("split")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The same calls in one process."""
    before = os.environ.get("RANK"), sys.argv
    os.environ["RANK"], sys.argv = "0", ["split_run.py", str(tmp_path_factory.mktemp("single"))]
    try:
        import split_run
    finally:
        sys.argv = before[1]
        del os.environ["RANK"]
        if before[0] is not None:
            os.environ["RANK"] = before[0]
    lm = model_of("Llama", **WIDER | {"max_position_embeddings": 256})
    return {
        "score_answers": split_run.score(lm),
        "perplexity": split_run.measure(lm),
        "generate": split_run.write(lm),
        "tokens": split_run.distinct_tokens(
            lm, [item.request for item in encode(lm, split_run.PROMPTS, split_run.ANSWERS)]
        ),
    }


def encode(lm, prompts, answers):
    from nbhelpers.boundary import encode_items, pair_up

    return list(encode_items(lm, *pair_up(lm, prompts, answers), "joint"))


def results(both, scenario):
    assert [one[scenario]["error"] for one in both] == [None, None]
    return [one[scenario]["result"] for one in both]


@pytest.mark.parametrize("scenario", ["score_answers", "kept", "found", "after an error", "a group of the program"])
def test_both_have_all_scores_in_order(both, single, scenario):
    one, other = results(both, scenario)
    assert one == other
    assert [total for total, _ in one] == pytest.approx([total for total, _ in single["score_answers"]], abs=1e-4)
    assert [greedy for _, greedy in one] == [greedy for _, greedy in single["score_answers"]]


def test_both_have_the_perplexity_and_all_texts(both, single):
    one, other = results(both, "perplexity")
    assert one == other and one[1] == single["perplexity"][1]
    assert one[0] == pytest.approx(single["perplexity"][0], abs=1e-3)
    one, other = results(both, "generate")
    assert one == other == [[list(ids) for ids in texts] for texts in single["generate"]]


def test_each_computes_half_of_the_distinct_tokens(both, single):
    tokens = [one["score_answers"]["computed"]["score_requests"] for one in both]
    assert max(tokens) <= 1.03 * sum(tokens) / 2, tokens
    shared = 5 * 7 + 40  # what both read: at most the beginning of all requests
    assert single["tokens"] < sum(tokens) <= single["tokens"] + shared
    for scenario, name in (("perplexity", "score_requests"), ("generate", "continue_prompts")):
        tokens = [one[scenario]["computed"][name] for one in both]
        assert max(tokens) <= 0.6 * sum(tokens), (scenario, tokens)


def test_what_one_has_kept_both_have(both):
    assert all(one["kept"]["computed"] for one in both)
    assert not any(one["found"]["computed"] for one in both)


def test_few_items_leave_one_process_idle(both):
    assert results(both, "no items") == [[], []]
    one, other = results(both, "one item")
    assert one == other and len(one) == 1
    assert sum(bool(process["one item"]["computed"]) for process in both) == 1


def test_only_the_first_process_shows_a_bar(both):
    assert [one["score_answers"]["bar"] for one in both] == [True, False]


@pytest.mark.parametrize(
    "scenario, kinds, message",
    [
        ("an error in one", ["ValueError", "ValueError"], "the model returned NaN or infinity for item 7"),
        ("bad input in one", ["ValueError", "ValueError"], "the answer of item 239 is empty"),
        ("an odd error in one", ["RuntimeError", "Odd"], "an odd one"),
        ("no cache in one", ["OSError", "OSError"], "cannot keep results in /dev/null/x"),
        ("other requests", ["ValueError", "ValueError"], "process 1 was given another request than process 0"),
        ("other settings", ["ValueError", "ValueError"], "process 1 was given another setting than process 0"),
        ("other weights", ["ValueError", "ValueError"], "process 1 was given another model than process 0"),
        ("another function", ["ValueError", "ValueError"], "process 1 was given another function than process 0"),
    ],
)
def test_an_error_is_raised_in_both(both, scenario, kinds, message):
    errors = [one[scenario]["error"] for one in both]
    assert [kind for kind, *_ in errors] == kinds
    assert all(message in text for _, text, _ in errors)
    if scenario in ("an error in one", "bad input in one"):
        assert errors[0][1] == errors[1][1]
        assert errors[0][2] == ["raised in process 1 of 2, in which this call was split"]


def test_switched_off_each_call_is_its_own(both, single):
    for rank, found in enumerate(results(both, "switched off")):
        expected = single["score_answers"][rank : 9 + rank]
        assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], abs=1e-4)


def test_a_process_that_stays_away_is_an_error_and_no_hang(both):
    (kind, message, _) = both[1]["one is absent"]["error"]
    assert kind == "TimeoutError" and "nbhelpers.split_between_processes(False)" in message
    assert both[0]["one is absent"]["error"] is None


def test_a_single_process_is_alone(monkeypatch):
    lm = model_of("Llama", **WIDER)
    assert processes.team_of(lm.model) is None
    monkeypatch.setenv("WORLD_SIZE", "2")  # as some cluster's scripts set it, for no launcher of ours
    assert processes.team_of(lm.model) is None
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    assert processes.team_of(lm.model).rank == 1
    monkeypatch.setattr(processes, "_switched_on", True)
    nb.split_between_processes(False)
    assert processes.team_of(lm.model) is None


def test_a_model_that_is_spread_over_the_processes_is_left_alone(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    lm = model_of("Llama", **WIDER)
    assert processes.team_of(lm.model) is not None
    lm.model.lm_head.weight.ds_id = 3  # ZeRO 3
    assert processes.team_of(lm.model) is None
    wrapper = type("FullyShardedDataParallel", (torch.nn.Module,), {})()
    wrapper.module = model_of("Llama", **WIDER).model
    assert processes.team_of(wrapper) is None
