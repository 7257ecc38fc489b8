"""Each fault fails its property, and leaves the others standing."""

import math

import conformance_backends as backends
import pytest
from conformance_backends import right, with_convention

from nbhelpers.conformance import ARCHITECTURES, PROPERTIES, check_backend

EVERYTHING = frozenset({"shift", "BOS", "boundary", "long context", "precision"})  # what asks for true numbers
IN_COMPANY = frozenset({"padding", "cache"})

FAULTS = [
    # backend, model, properties that fail, those that cannot be decided, what the report says
    (with_convention(reading="row after"), "llama", {"shift"}, {}, "one row late"),
    (with_convention(reading="row before"), "gpt2", {"shift"}, {}, "one row early"),
    (with_convention(reading="first lost"), "qwen2", {"shift"}, {}, "first token is not scored"),
    (with_convention(reading="last lost"), "qwen3", {"shift"}, {}, "last token is not scored"),
    (with_convention(reading="one more"), "llama", {"shift"}, {}, "last token is scored with the answer"),
    (with_convention(reading="span early"), "gpt2", {"shift"}, {}, "one token early"),
    (with_convention(starts=2), "llama", {"BOS"}, {}, "2 start tokens before every text, for 1"),
    (with_convention(starts=2), "counts", {"BOS"}, {}, "2 start tokens before every text, for 1"),
    (with_convention(starts=0), "llama", {"BOS"}, {}, "0 start tokens before every text, for 1"),
    (with_convention(starts=0), "counts", {"BOS"}, {}, "0 start tokens before every text, for 1"),
    (with_convention(starts=1), "gpt2", {"BOS"}, {}, "1 start tokens before every text, for 0"),
    (with_convention(starts=2, reading="row after"), "llama", {"BOS", "shift"}, {}, "one row late"),
    (backends.empty_prompt_is_worth_nothing, "qwen2", {"BOS"}, {}, "the prompt is empty"),
    (backends.doubles_a_written_start, "llama", {"BOS"}, {}, "begins with the start token already"),
    (backends.doubles_a_written_start, "counts", {"BOS"}, {}, "begins with the start token already"),
    (with_convention(boundary="split"), "llama", {"boundary"}, {}, "encoded apart"),
    (with_convention(boundary="counted"), "gpt2", {"boundary"}, {}, "dropped as the prompt alone has"),
    (backends.pads_left_without_mask, "llama", {"padding"}, {}, "of other lengths"),
    (backends.pads_left_without_mask, "gpt2", {"padding"}, {}, "of other lengths"),
    (backends.pads_left_without_mask, "counts", {"padding"}, {}, "of other lengths"),
    (backends.sorts_and_forgets, "llama", {"order"}, {}, "in another order"),
    (backends.depends_on_the_place, "llama", {"order"}, IN_COMPANY, "in another order"),
    (backends.only_small_batches, "gpt2", {"order"}, IN_COMPANY, "out of memory"),
    (backends.one_window_for_the_same_text, "llama", {"cache"}, {}, "that share text, in one call"),
    (backends.no_logits_for_what_was_read, "llama", {"cache"}, {}, "asked one after another"),
    (backends.no_logits_for_what_was_read, "gpt2", {"cache"}, {}, "asked one after another"),
    (backends.remembers_the_prompt_alone, "qwen2", {"cache"}, {}, "that share text, in one call"),
    (backends.second_asking_is_empty, "gpt2", {"cache"}, {}, "asked one after another"),
    (backends.keyed_by_the_whole_text, "llama", {"cache"}, {}, "asked one after another"),
    (backends.drops_repeats, "llama", {"cache"}, {}, "numbers for"),
    (backends.cuts_windows, "llama", {"long context"}, {}, "numbers are wrong"),
    (backends.cuts_only_what_is_too_long, "gpt2", {"long context"}, {}, "an error is right"),
    (backends.refuses_long_texts, "llama", {"long context"}, {}, "more than 100 tokens"),
    (backends.in_bfloat16, "llama", {"precision"}, {}, "numbers are wrong"),
    (backends.in_bfloat16, "gpt2", {"precision"}, {}, "numbers are wrong"),
    # Wrong wherever something unlikely is asked, and cut texts and odd boundaries are unlikely.
    (backends.log_of_probabilities, "gpt2", {"precision", "boundary", "BOS", "cache"}, {}, "numbers are wrong"),
    (backends.races, "llama", {"concurrency"}, {}, "8 threads asked at once"),
    (with_convention(boundary="moved"), "llama", {"boundary"}, {}, "white space at the prompt's end moves"),
    (backends.in_unit(lambda total, tokens: total / tokens), "llama", {}, EVERYTHING, "means per token"),
    (backends.in_unit(lambda total, tokens: total / math.log(2)), "gpt2", {}, EVERYTHING, "in bits"),
    (backends.in_unit(lambda total, tokens: -total), "llama", {}, EVERYTHING, "the wrong sign"),
    (backends.in_unit(lambda total, tokens: math.exp(total)), "counts", {}, EVERYTHING, "they are probabilities"),
    # Wrong wherever an answer has one token, and those are everywhere.
    (backends.one_token_is_nothing, "llama", EVERYTHING - {"BOS"} | {"cache"}, {}, "some plain requests"),
    (backends.noise, "llama", {}, EVERYTHING, "no known fault explains them"),
]


@pytest.mark.parametrize(
    "make, architecture, fails, undecided, said", FAULTS, ids=[f"{number}" for number in range(len(FAULTS))]
)
def test_a_fault_fails_its_property_and_no_other(make, architecture, fails, undecided, said):
    report = check_backend(make(architecture), architecture)
    verdicts = {finding.name: finding.verdict for finding in report.findings}
    wanted = dict.fromkeys(PROPERTIES, "holds") | dict.fromkeys(undecided, "undecided") | dict.fromkeys(fails, "fails")
    assert verdicts == wanted, report
    assert said in str(report)
    assert report.passed == (not fails and not undecided)
    for name in fails:
        assert report[name].request is not None and report[name].largest_error > report.tolerance


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_truth_has_every_property(architecture):
    report = check_backend(right(architecture), architecture)
    assert report.passed and list(PROPERTIES) == [finding.name for finding in report.findings]
    assert max(finding.largest_error for finding in report.findings) < 1e-12
    assert "9 of 9 properties hold" in str(report)
