"""The tuning loop, the measures of a comparison and the decision that the page on base against tuned derives."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from notebook_code import definitions
from tiny_models import DEVICE, make_model, make_tokenizer

import nbhelpers as nb

PAGE = "instruction_tuning/olmo_1b_ift.ipynb"
CELLS = json.loads((Path(__file__).parents[2] / "book" / PAGE).read_text(encoding="utf-8"))["cells"]
page = definitions(PAGE)
CONSTANTS = page.train.__globals__
for cell in CELLS:  # and the constants that its functions read
    for node in ast.parse("".join(cell["source"])).body if cell["cell_type"] == "code" else []:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").isupper():
            exec(compile(ast.Module([node], []), PAGE, "exec"), CONSTANTS)
CONSTANTS["LAST"] = 1  # the tiny models have two layers

PAIRS = [("The capital of France is?", "Paris"), ("2 + 2 =", "4"), ("Is it the end?", "London and Madrid")]


@pytest.fixture(params=["llama", "olmo2"])
def lm(request):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = olmo_template()
    return nb.wrap_model(make_model(request.param, len(tokenizer)).to(DEVICE), tokenizer)


def olmo_template():
    """The template of the cell that is skipped: it stands there for a base model, which has none."""
    source = next("".join(c["source"]) for c in CELLS if "skip-execution" in c["metadata"].get("tags", []))
    assignments = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)]
    return ast.literal_eval(assignments[-1].value)


def joined(lm, top):
    top.model.layers = lm.model.model.layers[:-1] + top.model.layers
    return nb.wrap_model(top, lm.tokenizer, "tuned")


def test_the_template_of_the_skipped_cell_ends_where_the_reply_begins(lm):
    asked, reply = page.encode(lm, "Is it?", "Yes")
    text = lm.tokenizer.decode(asked)
    assert text == "<|user|>\nIs it?\n<|assistant|>\n"
    assert lm.tokenizer.decode(reply) == "Yes" + lm.tokenizer.eos_token
    whole = lm.tokenizer.apply_chat_template(
        [*page.chat("Is it?"), {"role": "assistant", "content": "Yes"}], tokenize=False
    )
    assert whole == text + "Yes" + lm.tokenizer.eos_token + "\n"


def test_states_of_the_frozen_layers_give_the_models_own_loss_of_the_reply(lm):
    ids, reply, states = data = page.prepare(lm, PAIRS)
    assert states.shape[:2] == ids.shape == reply.shape
    with torch.no_grad():
        own = lm.model(ids, labels=ids.where(reply, -100)).loss
        logits, wanted = page.reply_logits(page.upper(lm.model), data, slice(None))
    assert torch.nn.functional.cross_entropy(logits, wanted).item() == pytest.approx(own.item(), abs=1e-4)
    assert len(wanted) == sum(len(page.encode(lm, *pair)[1]) for pair in PAIRS)  # the reply's tokens, no others


def test_training_learns_the_replies_and_leaves_the_given_model_alone(lm):
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    data = page.prepare(lm, PAIRS)
    top = page.upper(lm.model)
    losses = page.train(top, data, steps=100, rate=1e-2)
    assert losses[-1] < 0.2 < 2 < losses[0]
    assert top.lm_head.weight.grad is None  # the frozen part costs no memory for gradients
    tuned = joined(lm, top)
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    changed = [name for name, value in tuned.model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed and all(name.startswith("model.layers.1.") for name in changed)  # only the last layer
    asked = [page.chat(question) for question, _ in PAIRS]
    assert [reply.text for reply in nb.generate(tuned, asked, 8)] == [reply for _, reply in PAIRS]


def test_equal_seeds_train_equal_models_and_other_seeds_do_not(lm):
    data = page.prepare(lm, PAIRS * 8)
    losses = [page.train(page.upper(lm.model), data, steps=4, seed=seed) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_one_read_says_what_greedy_decoding_writes(lm):
    top = page.upper(lm.model)
    page.train(top, page.prepare(lm, PAIRS), steps=100, rate=1e-2)
    losses, hits = page.read_replies(top, page.prepare(lm, [*PAIRS[:2], (PAIRS[2][0], "Paris")]))
    assert hits.tolist() == [True, True, False]  # greedy writes "London and Madrid" to the third
    assert losses[2] > 1 > losses[:2].max()


def test_the_loss_of_a_row_is_that_of_its_reply_with_the_end(lm):
    losses, _ = page.read_replies(page.upper(lm.model), page.prepare(lm, PAIRS))
    ended = [reply + lm.tokenizer.eos_token for _, reply in PAIRS]
    scores = nb.score_answers(lm, [page.chat(question) for question, _ in PAIRS], ended)
    assert losses == pytest.approx([-score.mean for score in scores], abs=1e-4)


def test_a_loss_that_is_not_a_number_stops_the_training(lm):
    data = page.prepare(lm, PAIRS)
    data[2][0, 0] = torch.nan
    with pytest.raises(ValueError, match="step 1: lower `rate`"):
        page.train(page.upper(lm.model), data, steps=2)


def test_every_row_comes_once_before_any_comes_again():
    rows = list(page.batches(24, steps=6, seed=0))
    assert [len(part) for part in rows] == [8] * 6
    for half in (rows[:3], rows[3:]):
        assert sorted(np.concatenate(half)) == list(range(24))


def test_no_sum_of_the_tests_is_among_those_to_learn_from():
    exam = page.make_problems(120, seed=1)
    lesson = page.make_problems(200, seed=0, taken={problem["sum"] for problem in exam})
    assert len(lesson) == 200 and not {p["sum"] for p in lesson} & {p["sum"] for p in exam}
    for problem in exam + lesson:
        assert eval(problem["sum"]) == problem["key"]  # our own text


def test_compare_pairs_items_and_chooses_the_interval_by_the_kind_of_score():
    scores = {"old": {"hit": [0, 0, 1, 1], "bits": [1.0, 2.0, 3.0, 4.0]}, "new": {"hit": [1, 0, 1, 1]}}
    scores["new"]["bits"] = [1.5, 2.0, 3.25, 4.75]
    table = page.compare("old", "new", (scores.get,))
    assert table["hit"] == (0.5, 0.75, nb.mcnemar([1, 0, 1, 1], [0, 0, 1, 1]))
    assert table["bits"][2] == nb.paired_difference(scores["new"]["bits"], scores["old"]["bits"])


@pytest.mark.parametrize(
    "goal, guard, expected",
    [
        ((0.1, 0.02, 0.2), (0.0, -0.04, 0.04), "SHIP"),  # better, and nothing lost beyond the margin of .05
        ((0.1, -0.01, 0.2), (0.0, -0.04, 0.04), "MEASURE MORE"),  # perhaps no gain
        ((0.1, 0.02, 0.2), (0.0, -0.06, 0.06), "MEASURE MORE"),  # perhaps a loss
        ((0.1, 0.02, 0.2), (-0.04, -0.06, -0.02), "MEASURE MORE"),  # a loss, perhaps within the margin
        ((0.1, 0.02, 0.2), (-0.2, -0.3, -0.1), "DO NOT SHIP"),  # a loss for sure
        ((-0.1, -0.2, -0.01), (0.0, -0.04, 0.04), "DO NOT SHIP"),  # worse at the task for sure
    ],
)
def test_the_decision_follows_the_rule(goal, guard, expected):
    better = nb.Interval(0.0, -0.01, 0.01)
    table = {CONSTANTS["GOAL"]: (0, 0, nb.Interval(*goal)), "general questions": (0, 0, nb.Interval(*guard))}
    table |= {"multiple choice": (0, 0, better), "plain, bits/byte": (0, 0, better)}
    assert page.decide(table) == expected


def test_where_lower_is_better_a_rise_counts_as_a_loss():
    rise = (1.7, 1.9, nb.Interval(0.2, 0.1, 0.3))
    assert page.gains({"plain, bits/byte": rise})["plain, bits/byte"] == nb.Interval(-0.2, -0.3, -0.1)


def test_a_handful_of_all_items_says_what_all_say_and_five_of_six_count_by_hand():
    assert page.handful([0, 0, 1], [1, 1, 0], size=3) == (1, 0, 0)
    better, equal, worse = page.handful([0] * 6, [1, 0, 0, 0, 0, 0])  # the one item is among five with 5/6
    assert (better, worse) == (pytest.approx(5 / 6, abs=0.02), 0) and equal == pytest.approx(1 / 6, abs=0.02)


def test_choosing_among_equal_checkpoints_flatters_and_one_checkpoint_does_not():
    coins = np.random.default_rng(0).integers(2, size=(60, 5))
    assert page.optimism(coins) > 0.05
    assert page.optimism(coins[:, :1]) == pytest.approx(0, abs=0.01)
