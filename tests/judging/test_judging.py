"""judge and judge_pairs are held to what score_answers and generate give for the same prompts."""

import math

import pytest
import torch

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
        (lambda lm: judge(lm, YES_NO, [ITEM], read="guess"), ValueError, "give 'probability', 'text' or 'reasoned'"),
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


@pytest.fixture
def chatty(sentencepiece_like):
    """Llama 2's way: a tokenizer that puts a space before every text, and a chat template that brings its own BOS."""
    lm = sentencepiece_like
    before = lm.tokenizer.chat_template
    lm.tokenizer.chat_template = (
        "<s>{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}{% if thinking %}think {% endif %}[reply]"
    )
    yield lm
    lm.tokenizer.chat_template = before


def test_a_verdict_is_the_token_with_which_a_reply_begins(chatty):
    template = Template("{answer} return?", ("the", "ret"), (1, 0))
    (verdict,) = judge(chatty, template, [{"answer": "Paris"}])
    prompt = chatty.tokenizer("<s>[user] Paris return? [reply]", add_special_tokens=False)["input_ids"]
    totals = []
    for word in ("the", "ret"):
        ids = chatty.tokenizer(word, add_special_tokens=False)["input_ids"]
        assert chatty.tokenizer.convert_ids_to_tokens(ids)[0].startswith("▁")
        table = chatty.model(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        totals.append(sum(table[len(prompt) + k - 1, token].item() for k, token in enumerate(ids)))
    yes, no = verdict.probabilities
    assert math.log(yes / no) == pytest.approx(totals[0] - totals[1], abs=1e-3)


def test_one_chat_has_one_rendering_for_all(chatty):
    """The same chat after the same BOS, whoever hands it to the model."""
    chat = [{"role": "user", "content": "the capital of France is"}]
    text = "<s>[user] the capital of France is [reply]"
    (scored,) = nb.score_answers(chatty, chat, [" Paris"])
    assert scored.prompt == text
    ids = chatty.tokenizer(text + " Paris", add_special_tokens=False)["input_ids"]
    table = chatty.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    begin = len(ids) - len(scored.token_ids)
    expected = [table[i - 1, ids[i]].item() for i in range(begin, len(ids))]
    assert scored.logprobs == pytest.approx(expected, abs=1e-4)
    (written,) = nb.generate(chatty, [chat], 1)
    first = chatty.model(torch.tensor([chatty.tokenizer(text, add_special_tokens=False)["input_ids"]])).logits[0, -1]
    assert written.token_ids == (first.argmax().item(),)
    assert written.total == pytest.approx(first.double().log_softmax(-1).max().item(), abs=1e-4)


def test_options_reach_the_chat_template(chatty):
    chat = [{"role": "user", "content": "the capital"}]
    options = {"chat_template_kwargs": {"thinking": True}}
    assert nb.score_answers(chatty, [chat], [" of"], **options)[0].prompt == "<s>[user] the capital think [reply]"
    template = Template("{answer}", ("the", "ret"), (1, 0))
    bare, thinking = (judge(chatty, template, [{"answer": "of"}], **o)[0] for o in ({}, options))
    assert bare.probabilities != thinking.probabilities
    assert nb.generate(chatty, [chat], 4) != nb.generate(chatty, [chat], 4, **options)
    for call in (
        lambda bad: nb.score_answers(chatty, [chat], ["x"], chat_template_kwargs=bad),
        lambda bad: nb.generate(chatty, [chat], 4, chat_template_kwargs=bad),
        lambda bad: judge(chatty, template, [{"answer": "of"}], chat_template_kwargs=bad),
    ):
        for bad in (["thinking"], {"tokenize": True}, {3: 4}):
            with pytest.raises(TypeError, match="chat_template_kwargs must be a mapping"):
                call(bad)


def test_several_draws_give_a_majority_and_a_flip_rate(gpt2, monkeypatch):
    replies = iter(["A", "B", "B", "A", "nothing", "A", "A", "A", "B"])
    asked = []

    def generate(lm, prompts, max_new_tokens, **options):
        asked.append(options["seed"])
        return [nb.Generation(next(replies), (1,), (0.0,), "stop") for _ in prompts]

    monkeypatch.setattr("nbhelpers.judging.judges.generate", generate)
    template = Template("{answer}", ("A", "B"), (1, 0))
    items = [{"answer": str(i)} for i in range(3)]
    found = judge(gpt2, template, items, read="text", draws=3, temperature=0.7, seed=10)
    assert asked == [10, 11, 12]
    assert [v.draws for v in found] == [("A", "A", "A"), ("B", None, "A"), ("B", "A", "B")]
    assert [v.verdict for v in found] == ["A", None, "B"]
    assert [v.score for v in found] == [1.0, None, pytest.approx(1 / 3)]
    assert [v.flip_rate for v in found] == [0, 1, pytest.approx(2 / 3)]
    assert nb.Verdict("A", 1.0, 1.0).flip_rate is None


@pytest.mark.parametrize(
    "options, message",
    [
        ({"draws": 0}, "draws=0: give how often"),
        ({"draws": 3}, "every draw would be the same"),
        ({"draws": 3, "read": "text"}, "give read='text' and a temperature above 0|Give read='text'"),
        ({"read": "text", "temperature": -1}, "temperature=-1"),
    ],
)
def test_draws_that_could_not_differ_are_refused(gpt2, options, message):
    with pytest.raises(ValueError, match=message):
        judge(gpt2, Template("{answer}", ("A", "B"), (1, 0)), [ITEM], **options)


def test_a_local_judge_that_reasons_is_read_where_it_states_its_verdict(gpt2, monkeypatch):
    written = "<think>A?</think> So: B"
    monkeypatch.setattr(
        "nbhelpers.judging.judges.generate",
        lambda lm, prompts, *a, **o: [nb.Generation(written, (1,), (0.0,), "stop") for _ in prompts],
    )
    (verdict,) = judge(gpt2, Template("{answer}?", ("A", "B"), (1, 0)), [ITEM], read="reasoned")
    a, b = nb.score_answers(gpt2, "Honey.?\n\nVerdict:<think>A?</think> So: ", ["A", "B"])
    assert math.log(verdict.probabilities[0] / verdict.probabilities[1]) == pytest.approx(a.total - b.total, abs=1e-3)
    assert verdict.reply == written


@pytest.mark.parametrize(
    "written, verdict",
    [
        ("Is it A? Verdict: A, or", None),  # cut off before </think>
        ("Is it A?</think>\n\nB", "B"),
        ("<think>Is it A?</think>\n\nB", "B"),  # the model opens it once more
    ],
)
def test_reasoning_that_the_chat_template_opens_is_no_reply(chatty, monkeypatch, written, verdict):
    """As with Qwen 3, whose prompt ends in <think> and a newline."""
    chatty.tokenizer.chat_template += "<think>{{ '\\n' }}"
    monkeypatch.setattr(
        "nbhelpers.judging.judges.generate",
        lambda lm, prompts, *a, **o: [nb.Generation(written, (1,), (0.0,), "length") for _ in prompts],
    )
    template = Template("{answer}?", ("A", "B"), (1, 0))
    if verdict is None:
        with pytest.warns(UserWarning, match="the reasoning was cut off before a verdict"):
            (found,) = judge(chatty, template, [ITEM], read="text")
    else:
        (found,) = judge(chatty, template, [ITEM], read="text")
    assert (found.verdict, found.reply) == (verdict, "<think>\n" + written)
    if verdict is None:
        return
    (found,) = judge(chatty, template, [ITEM], read="reasoned")
    before = [{"role": "user", "content": "Honey.?"}], written.removesuffix("B")
    prompt = chatty.tokenizer.apply_chat_template(before[0], tokenize=False, add_generation_prompt=True) + before[1]
    a, b = nb.score_answers(chatty, prompt, ["A", "B"])
    assert math.log(found.probabilities[0] / found.probabilities[1]) == pytest.approx(a.total - b.total, abs=1e-3)
