"""Models that differ in anything that changes a number have different fingerprints; equal ones, equal fingerprints.

That another process computes the same one is seen in test_killed_runs.py, where it finds what the first has kept.
"""

import copy

import pytest
import torch
from tiny_models import WIDER, make_tokenizer, model_of

import nbhelpers as nb
from nbhelpers import fingerprints
from nbhelpers.fingerprints import BLOCK, fingerprint, require_no_hooks, sketch


def make_lm() -> nb.LanguageModel:
    return model_of("Llama", **WIDER)


@pytest.fixture(scope="module")
def lm():
    return make_lm()


@pytest.fixture(scope="module")
def original(lm):
    return fingerprint(lm)


def test_the_same_model_built_twice_has_one_fingerprint(original):
    assert fingerprint(make_lm()) == original


def test_where_a_model_came_from_does_not_count(lm, original, tmp_path):
    seen = {original}
    for folder in (tmp_path / "one", tmp_path / "other"):
        lm.model.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)
        seen.add(fingerprint(nb.load_model(folder, device="cpu", dtype="float32")))
    assert len(seen) == 1
    assert fingerprint(nb.wrap_model(lm.model, lm.tokenizer, "another name")) == original


def test_running_a_model_does_not_change_it(original):
    lm = make_lm()
    nb.score_answers(lm, "The end", [" is", " of the"])
    nb.generate(lm, ["The end"], 3)
    assert fingerprint(lm) == original


@torch.no_grad()
def one_weight(model):
    model.get_parameter("model.layers.1.mlp.up_proj.weight").data[3, 5] += 1e-3


@torch.no_grad()
def sign_of_a_row(model):
    model.get_parameter("model.layers.0.mlp.up_proj.weight").data[2] *= -1


@torch.no_grad()
def two_rows_swapped(model):
    weight = model.get_parameter("model.embed_tokens.weight").data
    weight[[4, 5]] = weight[[5, 4]].clone()


@torch.no_grad()
def two_layers_swapped(model):
    one, other = model.model.layers[0], model.model.layers[1]
    state = copy.deepcopy(one.state_dict())
    one.load_state_dict(other.state_dict())
    other.load_state_dict(state)


@torch.no_grad()
def a_buffer_that_is_not_saved(model):
    model.model.rotary_emb.inv_freq *= 0.5


def a_number_on_a_module(model):
    model.model.layers[0].self_attn.scaling *= 2


def the_configuration(model):
    model.config.rms_norm_eps = 1e-3


def the_attention(model):
    model.set_attn_implementation("eager")


def the_class_of_a_module(model):
    model.model.layers[0].mlp.__class__ = type("Other", (type(model.model.layers[0].mlp),), {})


def the_precision(model):
    model.bfloat16()


CHANGES = [
    one_weight,
    sign_of_a_row,
    two_rows_swapped,
    two_layers_swapped,
    a_buffer_that_is_not_saved,
    a_number_on_a_module,
    the_configuration,
    the_attention,
    the_class_of_a_module,
    the_precision,
]


@pytest.mark.parametrize("alter", CHANGES, ids=lambda alter: alter.__name__)
def test_whatever_changes_a_number_changes_the_fingerprint(original, alter):
    lm = make_lm()
    alter(lm.model)
    assert fingerprint(lm) != original


def test_a_sketch_tells_models_apart_that_hold_other_numbers():
    lm = make_lm()
    one = sketch(lm)
    assert sketch(make_lm()) == one
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert sketch(lm) != one


def test_another_tokenizer_is_another_model(lm, original):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<think>"])
    assert fingerprint(nb.wrap_model(lm.model, tokenizer)) != original
    assert fingerprint(nb.wrap_model(lm.model, make_tokenizer(eos=False))) != original


@pytest.mark.parametrize("size", [1, 3, 4, 5, 4 * BLOCK, 4 * BLOCK + 2, 9 * BLOCK])
def test_no_byte_is_left_out(size):
    data = torch.zeros(size, dtype=torch.uint8)
    seen = {fingerprints._checksums(data, "data")}
    places = {0, size // 3, size // 2, max(0, size - 2), size - 1}
    for place in places:
        for bit in (1, 128):
            changed = data.clone()
            changed[place] = bit
            seen.add(fingerprints._checksums(changed, "data"))
    assert len(seen) == 1 + 2 * len(places)


def test_views_are_read_as_they_look():
    data = torch.arange(20.0).reshape(4, 5)
    for view in (data.T, data[1:, 2:], data.flatten()[3:]):
        assert fingerprints._checksums(view, "view") == fingerprints._checksums(view.clone(), "copy")
    odd = torch.arange(41, dtype=torch.uint8)[1:]
    assert fingerprints._checksums(odd, "odd") == fingerprints._checksums(odd.clone(), "copy")


def test_weights_that_are_not_in_memory_are_a_clear_error():
    lm = make_lm()
    lm.model.model.layers[1].to("meta")
    with pytest.raises(ValueError, match=r"weights 'model\.layers\.1\..*' are not in memory"):
        fingerprint(lm)
    assert sketch(lm) == sketch(lm)


def test_hooks_and_replaced_forwards_are_refused():
    lm = make_lm()
    require_no_hooks(lm.model)
    handle = lm.model.model.layers[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"cache= cannot be used while hooks.*'model\.layers\.0'"):
        require_no_hooks(lm.model)
    handle.remove()
    require_no_hooks(lm.model)
    lm.model.forward = lm.model.forward
    with pytest.raises(ValueError, match="'the model'"):
        require_no_hooks(lm.model)
