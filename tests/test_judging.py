"""judge and judge_pairs are held to what score_answers and generate give for the same prompts."""

import math

import pytest

import nbhelpers as nb
from nbhelpers import judging
from nbhelpers.judging import PAIR, YES_NO, Template, judge, judge_pairs

ITEM = {"question": "What do bees make?", "answer": "Honey."}
PAIRS = [
    {"question": "What do bees make?", "first": "Honey.", "second": "Bricks."},
    {"question": "What colour is grass?", "first": "Purple.", "second": "Green."},
]


def test_the_embedded_judge_is_read_as_score_answers_reads_it(embedded):
    """The same prompt by hand: the chat template around the filled text, and each verdict after it."""
    (verdict,) = judge(embedded, YES_NO, [ITEM])
    text = (
        "<question>What do bees make?</question>\n<answer>Honey.</answer>\n"
        "Is the answer a good and correct answer to the question? Reply with Yes or No only."
    )
    prompt = embedded.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    yes, no = (math.exp(s.total) for s in nb.score_answers(embedded, prompt, ["Yes", "No"]))
    assert verdict.probabilities == pytest.approx((yes / (yes + no), no / (yes + no)), abs=1e-4)
    assert verdict.outside == pytest.approx(1 - yes - no, abs=1e-4)


def test_both_orders_come_from_one_call_and_are_the_items_swapped(embedded):
    both = judge_pairs(embedded, PAIR, PAIRS)
    swapped = [{**p, "first": p["second"], "second": p["first"]} for p in PAIRS]
    for pair, straight, other in zip(both, judge(embedded, PAIR, PAIRS), judge(embedded, PAIR, swapped), strict=True):
        assert pair.straight.score == pytest.approx(straight.score, abs=1e-4)
        assert pair.swapped.score == pytest.approx(other.score, abs=1e-4)
        assert abs(pair.straight.score - pair.swapped.score) > 1e-3  # the orders differ, so a mix-up would show


def test_examples_stand_before_every_item(embedded):
    (bare,) = judge(embedded, YES_NO, [ITEM])
    (shown,) = judge(embedded, YES_NO, [ITEM], examples=[({"question": "2 + 2?", "answer": "5"}, "No")])
    assert abs(bare.probabilities[0] - shown.probabilities[0]) > 1e-3


def test_written_verdicts_agree_with_what_the_model_writes(embedded):
    (verdict,) = judge(embedded, YES_NO, [ITEM], read="text")
    chat = [{"role": "user", "content": judging.fill(YES_NO, ITEM)}]
    (written,) = nb.generate(embedded, [chat], 16)
    assert verdict.reply == written.text and verdict.probabilities is None
    assert verdict.verdict == judging.parse_verdict(written.text, ("Yes", "No"))


def test_an_unparsable_reply_is_returned_and_not_scored(embedded):
    verdicts = judge(embedded, YES_NO, [ITEM, ITEM], read="text", parse=lambda reply, legal: None)
    assert [(v.verdict, v.score) for v in verdicts] == [(None, None)] * 2 and all(v.reply for v in verdicts)


def test_a_tokenizer_without_chat_template_gets_a_plain_text(gpt2):
    short = Template("{answer} Good?", ("Yes", "No"), (1, 0))
    (verdict,) = judge(gpt2, short, [ITEM], examples=[(ITEM, "Yes")])
    prompt = "Honey. Good?\n\nVerdict: Yes\n\nHoney. Good?\n\nVerdict:"
    yes, no = (s.total for s in nb.score_answers(gpt2, prompt, [" Yes", " No"]))
    assert math.log(verdict.probabilities[0] / verdict.probabilities[1]) == pytest.approx(yes - no, abs=1e-3)
    (written,) = judge(gpt2, short, [ITEM], examples=[(ITEM, "Yes")], read="text", max_new_tokens=4)
    assert written.reply == nb.generate(gpt2, [prompt], 4)[0].text


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda lm: judge(lm, "Is it good?", [ITEM]), TypeError, "must be a Template"),
        (lambda lm: judge(lm, YES_NO, [ITEM], read="guess"), ValueError, "'probability' or 'text'"),
        (lambda lm: judge(lm, YES_NO, [ITEM, {"question": "2 + 2?"}]), ValueError, "item 1 has no 'answer'"),
        (lambda lm: judge(lm, YES_NO, [{**ITEM, "answer": 4}]), TypeError, "must be a string, not int"),
        (lambda lm: judge(lm, YES_NO, ["Honey."]), TypeError, "must be a mapping"),
        (lambda lm: judge(lm, YES_NO, [ITEM], examples=[(ITEM, "Maybe")]), ValueError, "example 0 has the verdict"),
        (lambda lm: judge(lm, YES_NO, [ITEM], read="text", parse=lambda *_: "Maybe"), ValueError, "parse returned"),
        (lambda lm: judge_pairs(lm, YES_NO, [ITEM]), ValueError, "a pair needs"),
        (lambda lm: judge_pairs(lm, PAIR, [{"question": "2 + 2?", "first": "4"}]), ValueError, "no 'second'"),
        (lambda lm: judge_pairs(lm, Template("{first}{second}", ("A", "B"), (2, 1)), PAIRS), ValueError, "for a pair"),
        (
            lambda lm: judge(lm, Template("{answer}", ("Yes", "Yes, indeed"), (1, 0)), [ITEM]),
            ValueError,
            "begins the verdict",
        ),
    ],
)
def test_bad_input_is_named(embedded, call, error, message):
    with pytest.raises(error, match=message):
        call(embedded)


def test_nothing_to_judge_is_no_verdict(embedded):
    assert judge(embedded, YES_NO, []) == [] and judge_pairs(embedded, PAIR, []) == []
