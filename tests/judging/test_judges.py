"""A server as a judge, held to the first tokens that it is scripted to give."""

import math

import pytest
from scripted_server import ScriptedServer, completion, entry

import nbhelpers as nb
from nbhelpers.judging import PAIR, PAIR_OR_TIE, Template, judge, judge_pairs

PAIRS = [
    {"question": "What do bees make?", "first": "Honey.", "second": "Bricks."},
    {"question": "What colour is grass?", "first": "Purple.", "second": "Green."},
]


@pytest.fixture
def server(tmp_path):
    """A server that gives fixed first tokens: A 0.5, " A" 0.1, B 0.2; and no verdict for a question about grass."""

    def answer(content, before):
        likely = {"Green": 0.9} if "grass" in content else {"A": 0.5, "B": 0.2, " A": 0.1}
        first, *_ = likely
        alternatives = {token: math.log(p) for token, p in likely.items()}
        logprobs = {"content": [entry(first, alternatives[first], **alternatives)], "refusal": None}
        return completion(first, logprobs, finish_reason="length")

    scripted = ScriptedServer()
    scripted.answer = answer
    yield nb.Endpoint(scripted.url, "m", cache=tmp_path)
    scripted.close()


def test_an_endpoint_gives_the_same_kind_of_verdict(server):
    with pytest.warns(UserWarning, match="1 of 2 items got no verdict; the first is item 1: no verdict is likely"):
        bees, grass = judge(server, PAIR_OR_TIE, PAIRS)
    assert bees.probabilities == pytest.approx((0.75, 0.25, 0.0))  # " A" is "A": 0.6 to 0.2
    assert bees.score == pytest.approx(0.75) and bees.outside == pytest.approx(0.2)
    # no legal verdict among the likely tokens: none is guessed
    assert (grass.verdict, grass.value, grass.score, grass.probabilities, grass.outside) == (None, None, None, None, 1)


def test_an_endpoint_writes_verdicts_too(server):
    bees, grass = judge(server, PAIR, PAIRS, read="text")
    assert (bees.verdict, bees.score, bees.reply) == ("A", 1.0, "A")
    assert (grass.verdict, grass.score, grass.reply) == (None, None, "Green")
    (pair,) = judge_pairs(server, PAIR, PAIRS[1:], read="text")
    assert not pair.parsed and pair.winner is None


GRADE = Template("{answer}", tuple(map(str, range(1, 11))), tuple(range(1, 11)))
CORRECT = Template("{answer}", ("Correct", "Incorrect"), (1, 0))


def scripted_judge(tmp_path, answers):
    """A server that replies to each content with steps of {token: probability}, the chosen one first, or as it is."""

    def answer(content, before):
        said = answers[content]
        if not isinstance(said, list):
            return said
        tokens = [next(iter(step)) for step in said]
        entries = [
            entry(token, math.log(step[token]), **{t: math.log(p) for t, p in step.items()})
            for token, step in zip(tokens, said, strict=True)
        ]
        return completion("".join(tokens), {"content": entries, "refusal": None})

    scripted = ScriptedServer()
    scripted.answer = answer
    return scripted, nb.Endpoint(scripted.url, "m", cache=tmp_path, retries=0, concurrency=1)


@pytest.fixture
def ask(tmp_path):
    """Judge the contents with a server that answers as the mapping says."""
    servers = []

    def run(template, answers, **options):
        scripted, endpoint = scripted_judge(tmp_path, answers)
        servers.append(scripted)
        return judge(endpoint, template, [{"answer": content} for content in answers], **options)

    yield run
    for scripted in servers:
        scripted.close()


def test_a_grade_of_two_digits_is_read_to_its_end(ask):
    (ten,) = ask(GRADE, {"good": [{"1": 0.95, "9": 0.05}, {"0": 0.95, "": 0.05}]})
    assert ten.verdict == "10"
    assert ten.score == pytest.approx(0.95 * 0.95 * 10 + 0.05 * 9 + 0.95 * 0.05 * 1)
    assert ten.outside == pytest.approx(0.0, abs=1e-6)


def test_a_verdict_of_two_tokens_is_not_taken_for_another(ask):
    (wrong,) = ask(CORRECT, {"bad": [{"In": 0.97, "Correct": 0.02}, {"correct": 0.99}]})
    assert wrong.verdict == "Incorrect" and wrong.score == pytest.approx(0.02 / (0.02 + 0.97 * 0.99))


def test_what_cannot_be_read_to_its_end_is_no_verdict(ask):
    with pytest.warns(UserWarning, match="1 of 2 items got no verdict; the first is item 1: a probability of 0.40"):
        fine, open_ended = ask(GRADE, {"a": [{"8": 1.0}, {"": 1.0}], "b": [{"8": 0.6, "1": 0.4}, {"": 1.0}]})
    assert fine.verdict == "8" and fine.problem is None
    assert open_ended.verdict is open_ended.score is None
    assert "tokens such as '1', which begin a verdict" in open_ended.problem


def test_more_outside_than_inside_is_no_verdict(ask):
    with pytest.warns(UserWarning, match="no verdict is likely: 70% of the probability is outside of A, B"):
        (verdict,) = ask(Template("{answer}", ("A", "B"), (1, 0)), {"x": [{"I": 0.7, "A": 0.2, "B": 0.1}]})
    assert verdict.verdict is None and verdict.outside == pytest.approx(0.7)


def test_one_refused_item_is_one_items(ask):
    refusal = completion(None, finish_reason="content_filter")
    with pytest.warns(UserWarning, match="1 of 3 requests") as records:
        good, refused, other = ask(
            Template("{answer}", ("A", "B"), (1, 0)),
            {"x": [{"A": 0.9}, {".": 1.0}], "y": refusal, "z": [{"B": 0.9}, {".": 1.0}]},
        )
    assert (good.verdict, refused.verdict, other.verdict) == ("A", None, "B")
    assert "content_filter" in refused.problem
    assert len(records) == 1 and records[0].filename == __file__


def test_a_verdict_after_reasoning_is_read_where_it_is_stated(ask):
    steps = [{"<think>": 1.0}, {"A": 1.0}, {"?": 1.0}, {"</think>": 1.0}, {"Verdict:": 1.0}, {" B": 0.8, " A": 0.2}]
    (verdict,) = ask(Template("{answer}", ("A", "B"), (1, 0)), {"x": steps}, read="reasoned", max_new_tokens=50)
    assert verdict.verdict == "B" and verdict.probabilities == pytest.approx((0.2, 0.8))
    assert verdict.reply == "<think>A?</think>Verdict: B"


def test_reasoning_that_is_cut_off_is_said(ask):
    cut = completion("<think>A is better, I", finish_reason="length")
    with pytest.warns(UserWarning, match="the reasoning was cut off before a verdict: raise max_new_tokens"):
        (verdict,) = ask(Template("{answer}", ("A", "B"), (1, 0)), {"x": cut}, read="text")
    assert verdict.verdict is None


def test_options_of_the_other_kind_of_judge_are_refused(server, gpt2):
    with pytest.raises(ValueError, match="chat_template_kwargs are for a model in memory"):
        judge(server, PAIR, PAIRS, chat_template_kwargs={"enable_thinking": False})
    with pytest.raises(ValueError, match="extra_body is for a server"):
        judge(gpt2, PAIR, PAIRS, extra_body={"top_k": 1})


def test_further_fields_reach_the_server(tmp_path):
    scripted, endpoint = scripted_judge(tmp_path, {"x": [{"A": 1.0}]})
    body = {"chat_template_kwargs": {"enable_thinking": False}}
    template = Template("{answer}", ("A", "B"), (1, 0))
    for read in ("probability", "text", "reasoned"):
        judge(endpoint, template, [{"answer": "x"}], extra_body=body, read=read)
    scripted.close()
    assert [sent["chat_template_kwargs"] for sent in scripted.bodies] == [{"enable_thinking": False}] * 3
