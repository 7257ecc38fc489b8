"""Our model in lm-evaluation-harness returns what the harness's own `hf` returns, in any order, at any length."""

import json
import logging
import random
from itertools import pairwise

import pytest
from cases import REQUESTS
from harness_runs import TASKS, answers, evaluate, hf_of, instances
from tiny_models import TRAINING_TEXT, constant_model, make_model, make_tokenizer

import nbhelpers as nb

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install '.[lm-eval]'")

from lm_eval.api.model import CachingLM
from lm_eval.api.registry import get_model

from nbhelpers import lm_eval_adapter
from nbhelpers.lm_eval_adapter import HarnessLM, boundary_differences

NATS = 1e-3  # a request, float32
PAIRS = [(prompt, answer) for prompt, answer, _ in REQUESTS]
# Requests whose continuation a token of the context reaches into so far that lm-eval's cut leaves nothing.
NOTHING_LEFT = [("ret", "urn"), ("東", "京")]
TEXTS = ["The capital of France is Paris. " * 40, "is", "", "naïve café, 東京" * 3, "is"]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def small(request):
    """A model that reads 512 tokens; Llama's tokenizer puts BOS before every text."""
    tokenizer = make_tokenizer(bos=request.param == "llama")
    return nb.wrap_model(make_model(request.param, len(tokenizer), context=512), tokenizer, f"small {request.param}")


def totals(found):
    return [total for total, _ in found]


@pytest.mark.parametrize(
    "task, shots", [("own_capitals", 0), ("own_capitals", 5), ("own_texts", 0), ("own_replies", 2)]
)
@pytest.mark.parametrize("boundary", ["lm_eval", "joint"])
def test_a_task_gets_the_numbers_of_hf(small, monkeypatch, task, shots, boundary):
    if task == "own_texts" and boundary == "joint" and "llama" in small.name:
        pytest.skip("hf scores a second BOS: see test_a_rolling_score_reads_bos_once")
    monkeypatch.chdir(TASKS)
    ours = evaluate(HarnessLM(small, boundary=boundary), task, num_fewshot=shots)
    theirs = evaluate(hf_of(small), task, num_fewshot=shots)
    got, expected = answers(ours, task), answers(theirs, task)
    assert len(got) == len(expected) > 2
    if task == "own_capitals":
        assert totals(got) == pytest.approx(totals(expected), abs=NATS)
        assert [greedy for _, greedy in got] == [greedy for _, greedy in expected]
    elif task == "own_texts":
        assert got == pytest.approx(expected, abs=NATS)
    else:
        assert got == expected
    for metric, value in theirs["results"][task].items():
        if isinstance(value, float):
            assert ours["results"][task][metric] == pytest.approx(value, rel=1e-5), metric


def test_the_cut_of_lm_eval_is_repeated_on_every_kind_of_request(small):
    pairs = [pair for pair in PAIRS if pair not in NOTHING_LEFT]
    got = HarnessLM(small, boundary="lm_eval").loglikelihood(instances(*pairs), disable_tqdm=True)
    expected = [hf_of(small).loglikelihood(instances(pair), disable_tqdm=True)[0] for pair in pairs]
    assert totals(got) == pytest.approx(totals(expected), abs=NATS)
    assert [greedy for _, greedy in got] == [greedy for _, greedy in expected]


@pytest.mark.parametrize("pair", NOTHING_LEFT)
def test_where_the_cut_of_lm_eval_leaves_nothing_the_error_names_the_request(small, pair):
    with pytest.raises(AssertionError):  # the harness's own
        hf_of(small).loglikelihood(instances(pair), disable_tqdm=True)
    with pytest.raises(ValueError, match=r"task 'own', document 0: .* leaves no token of '(urn|京)'.*boundary='joint'"):
        HarnessLM(small, boundary="lm_eval").loglikelihood(instances(pair), disable_tqdm=True)


def test_the_default_boundary_is_that_of_score_answers(small):
    found = HarnessLM(small).loglikelihood(instances(*PAIRS), disable_tqdm=True)
    scores = nb.score_answers(small, [prompt for prompt, _ in PAIRS], [answer for _, answer in PAIRS])
    assert totals(found) == pytest.approx([score.total for score in scores], abs=1e-4)
    assert [greedy for _, greedy in found] == [score.is_greedy for score in scores]


def test_the_order_of_requests_changes_nothing(small):
    model = HarnessLM(small)
    straight = dict(zip(PAIRS, model.loglikelihood(instances(*PAIRS), disable_tqdm=True), strict=True))
    mixed = PAIRS * 3  # with duplicates
    random.Random(0).shuffle(mixed)
    found = model.loglikelihood(instances(*mixed), disable_tqdm=True)
    assert len(found) == len(mixed)
    assert totals(found) == pytest.approx([straight[pair][0] for pair in mixed], abs=1e-4)


def test_no_requests_no_answers(small):
    model = HarnessLM(small)
    assert model.loglikelihood([]) == model.loglikelihood_rolling([]) == model.generate_until([]) == []


def test_a_greedy_continuation_is_recognised():
    tokenizer = make_tokenizer()
    the, capital = (tokenizer.encode(text)[0] for text in (" the", " capital"))
    import torch

    logits = torch.zeros(len(tokenizer))
    logits[the], logits[capital] = 5.0, 4.9
    model = HarnessLM(constant_model(logits))
    found = model.loglikelihood(instances(("is", " the the"), ("is", " the capital"), ("", " the")), disable_tqdm=True)
    assert [greedy for _, greedy in found] == [True, False, True]
    assert found[0][0] == pytest.approx(2 * found[2][0], abs=1e-5) and found[1][0] < found[0][0]


def test_an_empty_continuation_is_an_error_that_names_the_request(small):
    with pytest.raises(ValueError, match="task 'own', document 1: the continuation is empty"):
        HarnessLM(small).loglikelihood(instances(("The", " end"), ("The", "")), disable_tqdm=True)


# ---- long texts ----


def test_a_rolling_score_is_the_harness_s_sum_over_windows(small):
    model = HarnessLM(small, boundary="lm_eval", max_length=64)
    got = model.loglikelihood_rolling(instances(*[(text,) for text in TEXTS]), disable_tqdm=True)
    hf = hf_of(small, max_length=64)
    expected = hf.loglikelihood_rolling(instances(*[(text,) for text in TEXTS]), disable_tqdm=True)
    assert got == pytest.approx(expected, abs=NATS) and all(isinstance(total, float) for total in got)


def test_a_rolling_score_reads_bos_once(small):
    """Where the tokenizer adds BOS, hf puts another before it and scores the first; the default does not."""
    model = HarnessLM(small)
    got = model.loglikelihood_rolling(instances(("The end",), ("",)), disable_tqdm=True)
    (expected,) = nb.score_answers(small, "", ["The end"])
    assert got == pytest.approx([expected.total, 0.0], abs=1e-4)


@pytest.mark.parametrize("boundary", ["joint", "lm_eval"])
def test_a_context_longer_than_the_window_is_shortened_on_the_left_with_a_warning(small, caplog, boundary):
    pairs = [(" The capital of France is Paris." * copies, " London and Madrid") for copies in (1, 5, 9, 30)]
    model = HarnessLM(small, boundary=boundary, max_length=64)
    with caplog.at_level(logging.WARNING):
        got = model.loglikelihood(instances(*pairs), disable_tqdm=True)
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("nbhelpers")]
    assert message.startswith("2 of 4 requests are longer than the 64 tokens")
    expected = hf_of(small, max_length=64).loglikelihood(instances(*pairs), disable_tqdm=True)
    assert totals(got) == pytest.approx(totals(expected), abs=NATS)


def test_a_continuation_longer_than_the_window_is_an_error(small):
    model = HarnessLM(small, max_length=16)
    with pytest.raises(ValueError, match=r"request 1: the continuation alone is \d+ tokens long"):
        model.loglikelihood(instances(("The", " end"), ("The", " capital of France" * 9)), disable_tqdm=True)


# ---- generation ----

WANTED = [
    ("The capital of", {"until": [" the", "Paris"], "max_gen_toks": 20}),
    ("is is", {"until": "\n", "max_gen_toks": 12, "temperature": 0.0, "do_sample": False}),
    ("The end. " * 40, {"max_gen_toks": 9}),  # shortened on the left
    ("The capital of", {"until": [], "max_new_tokens": 20, "top_p": 0.9}),  # greedy: top_p has nothing to do
    ("The capital of", {"until": [" the", "Paris"], "max_gen_toks": 20}),  # a duplicate
]


def test_generated_texts_are_those_of_hf(small):
    got = HarnessLM(small, max_length=64).generate_until(instances(*WANTED), disable_tqdm=True)
    expected = [hf_of(small, max_length=64).generate_until(instances(one), disable_tqdm=True)[0] for one in WANTED]
    assert got == expected


@pytest.mark.parametrize(
    "options, message",
    [
        ({"do_sample": True}, "needs a temperature above 0"),
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.9}, "does not generate with top_p=0.9"),
        ({"num_beams": 4}, "does not generate with num_beams=4"),
        ({"repetition_penalty": 1.2}, "does not generate with repetition_penalty=1.2"),
        ({"max_gen_toks": 512}, "leaves no room for a context"),
    ],
)
def test_what_is_not_generated_is_refused_in_a_sentence(small, options, message):
    with pytest.raises(ValueError, match=message):
        HarnessLM(small).generate_until(instances(("The", options)), disable_tqdm=True)


def test_samples_depend_on_the_harness_s_seed_and_not_on_the_neighbours(small):
    import torch

    model = HarnessLM(small)
    wanted = [(text, {"do_sample": True, "temperature": 1.0, "max_gen_toks": 8}) for text in ("The", "is", "The")]
    torch.manual_seed(1)
    first = model.generate_until(instances(*wanted), disable_tqdm=True)
    again = model.generate_until(instances(*wanted[::-1]), disable_tqdm=True)
    torch.manual_seed(2)
    other = model.generate_until(instances(*wanted), disable_tqdm=True)
    assert first[0] != first[2]  # two draws of one context
    assert again == [first[0], first[1], first[2]] and other != first


def test_a_reply_begins_after_the_reasoning(small):
    plain = HarnessLM(small).generate_until(instances(("The", {"max_gen_toks": 12})), disable_tqdm=True)[0]
    mark = plain[3:5]
    cut = HarnessLM(small, think_end_token=mark).generate_until(instances(("The", {"max_gen_toks": 12})))
    assert cut == [plain.split(mark)[-1].lstrip()]


# ---- arguments ----


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"paralelize": True}, TypeError, "does not know the model argument paralelize: it takes pretrained"),
        ({"logits_cache": False}, TypeError, "logits_cache .every common beginning is computed once"),
        ({"trust_remote_code": True}, TypeError, "trust_remote_code .code that comes with a model is never run"),
        ({"boundary": "hf"}, ValueError, "boundary='hf' is unknown: give 'joint' or 'lm_eval'"),
        ({"max_length": 10_000}, ValueError, "max_length=10000"),
        ({"max_length": True}, ValueError, "max_length=True"),
        ({"token_budget": 0}, ValueError, "token_budget=0"),
        ({"think_end_token": 7}, TypeError, "think_end_token=7"),
        ({"chat_template_args": "a"}, TypeError, "chat_template_args='a': give a mapping"),
        ({"pretrained": 3}, TypeError, "pretrained is of type int"),
        ({"pretrained": "no/such/folder"}, ValueError, "no/such/folder"),
    ],
)
def test_an_unknown_argument_is_refused_by_name(small, arguments, error, message):
    arguments = {"pretrained": small, **arguments}
    with pytest.raises(error, match=message):
        HarnessLM(**arguments).loglikelihood(instances(("The", " end")), disable_tqdm=True)


def test_several_processes_are_refused(small, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="started in 2 processes"):
        HarnessLM(small)


def test_the_harness_finds_the_model_by_its_name_and_its_own_beside_it(small):
    assert get_model("nbhelpers") is HarnessLM
    assert get_model("hf").__name__ == "HFLM"
    model = get_model("nbhelpers").create_from_arg_obj({"pretrained": small}, {"batch_size": 8, "device": None})
    assert (model.rank, model.world_size, model.max_length) == (0, 1, 512)
    assert model.get_model_info()["boundary"] == "joint"


@pytest.mark.parametrize(
    "arguments, options, asked",
    [
        ({}, {"device": "cuda:0", "batch_size": 1}, "auto"),  # the command's default, with or without a GPU
        ({}, {"device": None}, "auto"),
        ({}, {"device": "mps"}, "mps"),
        ({"device": "cpu"}, {"device": "cuda:0"}, "cpu"),  # model arguments win
        ({"device": "cuda:0"}, {"device": "cuda:0"}, "cuda:0"),
    ],
)
def test_the_device_is_the_one_that_somebody_chose(small, monkeypatch, arguments, options, asked):
    seen = []
    monkeypatch.setattr(lm_eval_adapter, "as_model", lambda pretrained, device, dtype: seen.append(device) or small)
    HarnessLM.create_from_arg_obj(arguments, options)
    text = ",".join(f"{name}={value}" for name, value in arguments.items())
    HarnessLM.create_from_arg_string(text, options)
    assert seen == [asked, asked]


# ---- chats ----

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ message.role }}]{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% if thinking %}<think>{% endif %}{% endif %}"
)


@pytest.fixture
def chatty(small):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return nb.wrap_model(small.model, tokenizer, "chatty")


def test_chats_are_rendered_with_the_template_and_its_options(chatty, caplog):
    chat = [{"role": "user", "content": "Hi"}]
    plain = HarnessLM(chatty)
    assert plain.apply_chat_template(chat) == "[user]Hi\n[assistant]"
    thinking = HarnessLM(chatty, chat_template_args={"thinking": True})
    assert thinking.apply_chat_template(chat) == "[user]Hi\n[assistant]<think>"
    begun = [*chat, {"role": "assistant", "content": "Well"}]
    assert plain.apply_chat_template(begun, add_generation_prompt=False) == "[user]Hi\n[assistant]Well"
    assert plain.chat_template(True) == TEMPLATE and plain.chat_template(False) is None
    assert plain.tokenizer_name != thinking.tokenizer_name  # the harness keeps rendered chats under this name
    assert plain.apply_chat_template([{"role": "system", "content": "Be brief."}, *chat]) == "[user]Hi\n[assistant]"
    assert "no system" in caplog.text


def test_a_chat_without_a_template_is_an_error(small):
    with pytest.raises(ValueError, match="no chat template"):
        HarnessLM(small).apply_chat_template([{"role": "user", "content": "Hi"}])


def test_a_task_can_be_asked_as_a_chat(chatty, monkeypatch):
    monkeypatch.chdir(TASKS)
    results = evaluate(HarnessLM(chatty), "own_capitals", num_fewshot=1, apply_chat_template=True)
    context = results["samples"]["own_capitals"][0]["arguments"][0][0]
    assert context.startswith("[user]Question: ") and context.endswith("Answer:\n[assistant]")


# ---- the harness's cache of responses ----


def test_responses_reach_the_harness_s_cache_and_are_not_computed_again(small, tmp_path, monkeypatch):
    monkeypatch.setattr(lm_eval_adapter, "PIECE", 5)  # several pieces
    plain = HarnessLM(small)
    asked = {
        "loglikelihood": instances(*PAIRS),
        "loglikelihood_rolling": instances(*[(text,) for text in TEXTS if text]),
        "generate_until": instances(*WANTED[:2]),
    }
    expected = {kind: getattr(plain, kind)(requests) for kind, requests in asked.items()}
    cached = CachingLM(HarnessLM(small), str(tmp_path / "cache.db"))
    for kind, requests in asked.items():
        first = getattr(cached, kind)(requests)
        assert len(first) == len(requests)
        if kind == "loglikelihood":
            assert totals(first) == pytest.approx(totals(expected[kind]), abs=1e-4)
        monkeypatch.setattr(lm_eval_adapter, "score_each", None)  # nothing may be computed from here on
        monkeypatch.setattr(lm_eval_adapter, "write_replies", None)
        again = getattr(cached, kind)(requests)
        if kind == "loglikelihood":  # the last of equal requests is kept: they differ by rounding
            again, first = totals(again), totals(first)
        assert again == (first if kind == "generate_until" else pytest.approx(first, abs=1e-4))
        monkeypatch.undo()


def test_results_are_kept_in_a_file_of_ours(small, tmp_path, monkeypatch):
    from nbhelpers import prompt_continuations, request_scores

    cache = tmp_path / "results.sqlite"
    asked = instances(("The end", " is"), ("The end", " of the"))
    texts = instances(("The end", {"until": ["."], "max_gen_toks": 5}))

    def ask(**options):
        model = HarnessLM(small, **options)
        return model.loglikelihood(asked, disable_tqdm=True), model.generate_until(texts, disable_tqdm=True)

    expected = ask()
    for _ in range(2):
        assert ask(cache=cache) == expected
        monkeypatch.setattr(request_scores, "score_requests", None)  # the second time, nothing is computed
        monkeypatch.setattr(prompt_continuations, "continue_prompts", None)


def test_a_run_that_stops_has_kept_what_it_had(small, tmp_path, monkeypatch):
    monkeypatch.setattr(lm_eval_adapter, "PIECE", 5)
    kept = []
    model = HarnessLM(small)
    cached = CachingLM(model, str(tmp_path / "cache.db"))
    calls = iter(range(9))
    score = lm_eval_adapter.score_each

    def twice(*args, **options):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return score(*args, **options)

    monkeypatch.setattr(lm_eval_adapter, "score_each", twice)
    monkeypatch.setattr(model.cache_hook, "add_partial", lambda kind, pair, answer: kept.append(pair))
    with pytest.raises(KeyboardInterrupt):
        cached.loglikelihood(instances(*PAIRS))
    assert len(kept) == 10


# ---- where the boundaries differ ----


def test_differences_are_found_with_their_reason(small):
    found = {(d.context, d.continuation): d for d in boundary_differences(small, PAIRS)}
    reasons = {
        ("ret", "urn"): "leaves nothing to score",
        ("x = 5\nret", "urn the value"): "'return' straddles the boundary",
        ("The capital of France is   ", "Paris"): "the context ends in '   '",
        ("The capital of France is\n", " Paris"): r"the context ends in '\n'",
        ("caf", "é is"): "straddles the boundary",
    }
    for pair, reason in reasons.items():
        assert reason in found[pair].reason, pair
    assert ("The capital of France is ", "Paris") not in found  # one space: both score " Paris"
    assert found[("ret", "urn")].lm_eval is None and found[("ret", "urn")].lm_eval_tokens == ()
    ours = HarnessLM(small).loglikelihood(instances(*found), disable_tqdm=True)
    theirs = HarnessLM(small, boundary="lm_eval").loglikelihood(
        instances(*[pair for pair in found if pair not in NOTHING_LEFT]), disable_tqdm=True
    )
    assert [d.joint for d in found.values()] == pytest.approx(totals(ours), abs=1e-4)
    assert [d.lm_eval for d in found.values() if d.lm_eval is not None] == pytest.approx(totals(theirs), abs=1e-4)
    same = [pair for pair in PAIRS if pair not in found]
    assert same and boundary_differences(small, same) == [] == boundary_differences(small, [])


def test_a_tokenizer_that_ends_a_text_with_eos_is_a_difference(small):
    from tokenizers import processors

    tokenizer = make_tokenizer()
    ending = processors.TemplateProcessing(single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)])
    tokenizer.backend_tokenizer.post_processor = ending
    lm = nb.wrap_model(small.model, tokenizer, "ending")
    (difference,) = boundary_differences(lm, [("The capital", " of")])
    assert "special tokens differ" in difference.reason and difference.lm_eval_tokens == ("<|endoftext|>",)


def test_the_report_names_task_and_document(small, tmp_path, caplog):
    report = tmp_path / "differences.jsonl"
    report.write_text("of an earlier run\n")
    model = HarnessLM(small, difference_report=report)
    model.loglikelihood(instances(("The", " end"), ("x = 5\nret", "urn the value")), disable_tqdm=True)
    model.loglikelihood(instances(("The\n", " end")), disable_tqdm=True)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["task"], line["doc_id"], line["continuation"]) for line in lines] == [
        ("own", 1, "urn the value"),
        ("own", 0, " end"),
    ]
    assert "lm-eval cuts 1 of 2 requests differently" in caplog.text


# ---- the fault of lm-eval that sent us here ----


@pytest.mark.embedded
def test_the_cache_of_hf_mixes_up_nested_contexts_and_ours_does_not(embedded):
    """One text, cut at three places: with its cache, lm-eval 0.4.13 scores two of the three at wrong positions."""
    words = ["The capital of France is", " a city called Paris"], ["The capital of France is a", " city called Paris"]
    nested = instances(*map(tuple, words), ("The capital of France is a city", " called Paris"))
    right = [-11.009, -5.481, -2.938]
    assert totals(hf_of(embedded, logits_cache=True).loglikelihood(nested)) == pytest.approx(
        [-11.009, -30.521, -14.184], abs=2e-3
    )
    assert totals(hf_of(embedded).loglikelihood(nested)) == pytest.approx(right, abs=2e-3)
    found = totals(HarnessLM(embedded).loglikelihood(nested))
    assert found == pytest.approx(right, abs=2e-3)
    assert all(longer < shorter for longer, shorter in pairwise(found))  # more of one text is never more probable


def test_nested_contexts_get_the_numbers_they_get_alone(small):
    model, text = HarnessLM(small), TRAINING_TEXT[0]
    nested = [(text[:at], text[at:]) for at in range(3, 60) if text[at] == " "]
    together = totals(model.loglikelihood(instances(*nested), disable_tqdm=True))
    alone = [model.loglikelihood(instances(pair), disable_tqdm=True)[0][0] for pair in nested]
    assert together == pytest.approx(alone, abs=1e-4)
