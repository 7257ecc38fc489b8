"""load_model: names, devices, precisions, and the sentence it says when one of them is wrong."""

import dataclasses
import os
import subprocess
import sys
import types

import pytest
import torch
import transformers
from tiny_models import make_model, make_tokenizer

import nbhelpers as nb
from nbhelpers import models
from nbhelpers.loading import placement


@pytest.fixture
def saved(tmp_path, gpt2):
    """A folder as save_pretrained writes it."""
    gpt2.model.save_pretrained(tmp_path / "tiny")
    gpt2.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, nbhelpers; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_perplexity_is_the_function_whoever_imports_the_module_first():
    code = "import nbhelpers.perplexity as _; import nbhelpers as nb; assert callable(nb.perplexity)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.embedded
def test_the_default_is_the_embedded_model():
    embedded = nb.load_model()
    assert embedded.name == "SmolLM2-135M-Instruct"
    assert (embedded.dtype, embedded.context_length) == (torch.float32, 8192)
    assert repr(embedded).startswith("LanguageModel('SmolLM2-135M-Instruct', 134.5 M float32, ")
    assert not embedded.model.training


@pytest.mark.embedded
def test_the_default_prints_nothing_into_a_notebook():
    code = "import nbhelpers as nb; nb.load_model()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.embedded
def test_the_gguf_file_loads_to_the_same_model(embedded):
    from nbhelpers.embedded import embedded_gguf

    lm = nb.load_model(embedded_gguf())
    assert lm.name.endswith(".gguf") and lm.dtype == torch.float32
    (ours,), (theirs,) = (nb.score_answers(m, "The capital of France is", [" Paris"]) for m in (lm, embedded))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


@pytest.mark.parametrize("as_path", [str, lambda p: p])
def test_a_local_folder_loads(saved, gpt2, as_path):
    lm = nb.load_model(as_path(saved))
    assert lm.context_length == 64
    (ours,), (theirs,) = (nb.score_answers(m, "The capital", [" of"]) for m in (lm, gpt2))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


@pytest.mark.parametrize("given", ["bfloat16", torch.bfloat16])
def test_precision_is_as_asked_and_log_probabilities_are_float32(saved, gpt2, given):
    lm = nb.load_model(saved, dtype=given)
    assert lm.dtype == torch.bfloat16
    (ours,), (theirs,) = (nb.score_answers(m, "The capital", [" of"]) for m in (lm, gpt2))
    assert ours.total == pytest.approx(theirs.total, abs=0.5)
    # A bfloat16 has 8 bits of mantissa; a log-probability that was rounded to it would survive the round trip.
    assert any(torch.tensor(p).bfloat16().item() != p for p in ours.logprobs)


def test_the_environment_chooses_the_device_unless_the_call_does(saved, monkeypatch):
    monkeypatch.setenv("NBHELPERS_DEVICE", "cpu")
    assert nb.load_model(saved).device.type == "cpu"
    monkeypatch.setenv("NBHELPERS_DEVICE", "abacus")
    with pytest.raises(ValueError, match="'abacus' is no device: give 'auto', 'cpu', 'cuda'"):
        nb.load_model(saved)
    assert nb.load_model(saved, device="cpu").device.type == "cpu"
    monkeypatch.setenv("NBHELPERS_DEVICE", "")  # as good as unset
    assert nb.load_model(saved, dtype="float32").dtype == torch.float32


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"name": 7}, TypeError, "name must be a Hub id, a folder or a .gguf file, not int"),
        ({"name": " "}, ValueError, "name is empty"),
        ({"name": "nobody/no-such-model"}, ValueError, "cannot load 'nobody/no-such-model'.*Check the spelling"),
        ({"name": "/nowhere/model.gguf"}, ValueError, "there is no file /nowhere/model.gguf"),
        ({"dtype": "float33"}, ValueError, "'float33' is no precision for weights"),
        ({"dtype": torch.int8}, ValueError, "torch.int8 is no precision for weights"),
        ({"dtype": torch.float8_e4m3fn}, ValueError, "is no precision for weights"),
        ({"device": "meta"}, ValueError, "device 'meta' was asked for and this machine has none"),
        ({"device": "cpu:1"}, ValueError, "device 'cpu:1' was asked for and this machine has none"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        nb.load_model(**arguments)


def test_wrap_model_switches_dropout_off():
    tokenizer = make_tokenizer()
    model = make_model("gpt2", len(tokenizer)).train()
    assert not nb.wrap_model(model, tokenizer).model.training


def test_a_tokenizer_without_offsets_is_refused(gpt2):
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"\(Slow\) reports no character offsets"):
        nb.wrap_model(gpt2.model, Slow())


def test_device_and_precision_are_those_of_now():
    """A model may be moved or rounded after it was wrapped."""
    tokenizer = make_tokenizer()
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer)
    assert (lm.dtype, lm.device.type) == (torch.float32, "cpu")
    lm.model.bfloat16()
    assert lm.dtype == torch.bfloat16 and " M bfloat16, cpu, " in repr(lm)
    lm.model.to("meta")
    assert lm.device.type == "meta"
    assert [field.name for field in dataclasses.fields(lm)] == ["name", "model", "tokenizer", "context_length"]


def tiny(name, **options):
    """A model of transformers by the name of its class, with the configuration of `make_model("gpt2")` or its own."""
    config = make_model("gpt2", len(make_tokenizer())).config if name.startswith("GPT2") else None
    if config is None:
        kind = name.partition("For")[0].removesuffix("Model").removesuffix("Encoder")
        config = getattr(transformers, f"{kind}Config")(vocab_size=len(make_tokenizer()), **options)
    return getattr(transformers, name)(config)


def quantised():
    return torch.ao.quantization.quantize_dynamic(make_model("llama", 400), {torch.nn.Linear}, dtype=torch.qint8)


T5 = {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1}
BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
BART = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")}
NOT_CAUSAL = [
    (
        lambda: tiny("T5ForConditionalGeneration", **T5),
        "is an encoder-decoder, which reads one text and writes another",
    ),
    (lambda: tiny("BartForConditionalGeneration", d_model=16, **BART), "is an encoder-decoder"),
    (lambda: tiny("T5EncoderModel", **T5), r"no head that predicts the next token .*load it with AutoModelForCausalLM"),
    (lambda: tiny("GPT2Model"), "GPT2Model has no head that predicts the next token"),
    (lambda: tiny("BertModel", **BERT), "BertModel has no head that predicts the next token"),
    (
        lambda: tiny("GPT2ForSequenceClassification"),
        r"logits for two tokens have the shape \(1, 2\), not \(1, 2, 380\)",
    ),
    (lambda: tiny("GPT2ForTokenClassification"), r"have the shape \(1, 2, 2\), not"),
    (lambda: tiny("GPT2ForQuestionAnswering"), "no head that predicts the next token"),
    (lambda: torch.nn.DataParallel(make_model("gpt2", 400)), "a wrapper around GPT2LMHeadModel: pass .* model.module"),
    (quantised, r"dynamically quantised .*round by the largest value in the batch"),
    (lambda: torch.nn.Linear(2, 2), "Linear is no language model of transformers"),
    (lambda: torch.nn.Sequential(torch.nn.Embedding(9, 2), torch.nn.Linear(2, 9)), "Sequential is no language model"),
    (lambda: make_model("gpt2", 400).to("meta"), "has shapes and no weights"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("make, message", NOT_CAUSAL)
def test_what_is_no_causal_model_is_named_with_the_remedy(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        nb.wrap_model(make(), make_tokenizer())
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_sentence_embedder_is_named():
    embedder = type("SentenceTransformer", (torch.nn.Sequential,), {"__module__": "sentence_transformers.base.model"})
    with pytest.raises(ValueError, match="SentenceTransformer turns a text into one vector and predicts no tokens"):
        nb.wrap_model(embedder(), make_tokenizer())


@pytest.mark.parametrize(
    "model, message",
    [
        ("gpt2", r"not str: pass what from_pretrained returned, or use load_model\(name\)"),
        (None, "not NoneType"),
        (transformers.GPT2LMHeadModel, "not type"),
        (types.SimpleNamespace(model=torch.nn.Linear(2, 2)), "not SimpleNamespace: pass its .model"),  # a pipeline
    ],
)
def test_what_is_no_model_at_all_is_a_type_error(model, message):
    with pytest.raises(TypeError, match=f"wrap_model takes a model of transformers, {message}"):
        nb.wrap_model(model, make_tokenizer())


def test_a_model_whose_head_is_unknown_is_tried_out():
    """A causal model need not say what its head is, as long as it returns logits."""
    tokenizer = make_tokenizer()
    model = make_model("gpt2", len(tokenizer))
    truth = nb.score_answers(nb.wrap_model(model, tokenizer), "The capital", [" of"])[0].total
    model.get_output_embeddings = lambda: None
    lm = nb.wrap_model(model, tokenizer)
    assert nb.score_answers(lm, "The capital", [" of"])[0].total == pytest.approx(truth, abs=1e-5)
    assert models.vocabulary_rows(lm) == len(tokenizer)


def with_head(head):
    tokenizer = make_tokenizer()
    model = make_model("llama", 400)
    model.lm_head = head
    return nb.wrap_model(model, tokenizer)


@pytest.mark.parametrize(
    "head, rows",
    [
        (torch.nn.Linear(32, 400), 400),
        (torch.nn.Linear(32, 384), 384),  # a head that has not grown with the embedding
        (torch.nn.Linear(32, 512), 400),  # one with rows to fill up
        (torch.nn.Identity(), 400),  # no rows of its own
    ],
)
def test_vocabulary_rows_are_those_of_embedding_and_head(head, rows):
    assert models.vocabulary_rows(with_head(head)) == rows


def test_a_packed_head_leaves_the_rows_to_the_embedding():
    packed = torch.nn.Linear(32, 400)
    packed.weight = torch.nn.Parameter(torch.zeros(6400, 1, dtype=torch.uint8), requires_grad=False)  # 4 bits each
    assert models.vocabulary_rows(with_head(packed)) == 400


def test_tokens_added_without_resizing_have_no_row():
    tokenizer = make_tokenizer()
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer)
    tokenizer.add_tokens(["<new>"])
    assert models.vocabulary_rows(lm) == len(tokenizer) - 1


@pytest.mark.parametrize(
    "config, longest, expected",
    [
        ({"max_position_embeddings": 64}, 10, 64),
        ({"max_position_embeddings": 0, "n_ctx": 32}, 10, 32),
        ({"max_position_embeddings": True}, 10, 10),
        ({"max_position_embeddings": "64"}, 10, 10),
        ({}, 10**30, None),
        ({}, float("inf"), None),
        ({}, float("nan"), None),
        ({}, None, None),
        ({}, -1, None),
    ],
)
def test_the_context_length_is_a_number_of_tokens_or_none(config, longest, expected):
    text = types.SimpleNamespace(**config)
    whole = types.SimpleNamespace(get_text_config=lambda: text)
    assert models._context_length(whole, types.SimpleNamespace(model_max_length=longest)) == expected


def test_a_configuration_with_two_texts_is_unclear():
    def unclear():
        raise ValueError("Multiple valid text configs\nwere found")

    with pytest.raises(
        ValueError, match=r"configuration of the model is unclear \(Multiple valid text configs were found\)"
    ):
        models._context_length(types.SimpleNamespace(get_text_config=unclear), make_tokenizer())


def test_a_model_without_a_limit_has_no_context_length(gpt2):
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=len(gpt2.tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4)
    lm = nb.wrap_model(MambaForCausalLM(config), gpt2.tokenizer, "mamba")
    assert lm.context_length is None
    assert nb.perplexity(lm, "The end. " * 40).window == 2048


# --- placement on GPUs, with a stand-in for the one number that only a GPU can give ------------------------------


def test_weight_bytes_is_the_size_of_the_saved_model(saved, gpt2):
    config = gpt2.model.config
    parameters = sum(p.numel() for p in gpt2.model.parameters())
    assert placement.weight_bytes(config, torch.float32) == 4 * parameters
    assert placement.weight_bytes(config, torch.bfloat16) == 2 * parameters


@pytest.mark.parametrize("free, expected", [(10**9, {"": "cuda:0"}), (10**4, "auto")])
def test_a_model_that_does_not_fit_one_gpu_is_spread(gpt2, monkeypatch, free, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    assert placement.placement(gpt2.model.config, torch.float32, torch.device("cuda:0")) == expected


@pytest.mark.parametrize(
    "device, computes_bfloat16, expected",
    [
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float32),  # Colab's T4 only emulates it
        ("mps", True, torch.float32),
        ("cpu", True, torch.float32),
    ],
)
def test_the_automatic_precision_follows_the_device(monkeypatch, device, computes_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: computes_bfloat16)
    assert placement.choose_dtype("auto", torch.device(device)) == expected


def test_on_a_cpu_nothing_is_spread(gpt2):
    assert placement.placement(gpt2.model.config, torch.float32, torch.device("cpu")) is None


@pytest.mark.parametrize(
    "asked, rank, gpus, expected",
    [
        ("auto", "3", 8, "cuda:3"),
        ("cuda", "9", 8, "cuda:1"),  # more processes than GPUs
        ("cuda", "3", 1, "cuda"),  # each process sees one GPU only
        ("cuda:2", "3", 8, "cuda:2"),
        ("auto", None, 8, "cuda"),
        ("cpu", "3", 8, "cpu"),
    ],
)
def test_processes_started_together_take_a_gpu_each(monkeypatch, asked, rank, gpus, expected):
    monkeypatch.delenv("NBHELPERS_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert placement.choose_device(asked) == torch.device(expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_scores_agree_with_the_cpu(saved):
    cpu, gpu = (nb.load_model(saved, device=d, dtype="float32") for d in ("cpu", "cuda"))
    (ours,), (theirs,) = (nb.score_answers(m, "The capital", [" of France"]) for m in (gpu, cpu))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


@pytest.mark.hub
@pytest.mark.skipif(os.environ.get("NBHELPERS_TEST_HUB") != "1", reason="needs the Hub: set NBHELPERS_TEST_HUB=1")
def test_gpt2_from_the_hub():
    """The ids of the known notebook's answer, and its number for WikiText-like prose in the right order of size."""
    script = (
        "import nbhelpers as nb; lm = nb.load_model('gpt2'); "
        "assert lm.tokenizer.encode(' (B) Paris') == [357, 33, 8, 6342]; "
        "assert lm.context_length == 1024; "
        "assert nb.score_answers(lm, 'The capital of France is', [' Paris'])[0].total < 0"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


@pytest.mark.parametrize(
    "given, words",
    [
        ("gpt2", r"of type str, and not a LanguageModel: load it first: lm = nb\.load_model\('gpt2'\)"),
        (None, "type NoneType, .* nb.wrap_model"),
        (make_model("gpt2", 20), r"type GPT2LMHeadModel, .* nb.wrap_model\(model, tokenizer\)"),
    ],
)
def test_what_is_no_language_model_is_refused_where_it_is_given(given, words):
    for call in (
        lambda: nb.score_answers(given, "a", ["b"]),
        lambda: nb.perplexity(given, "a"),
        lambda: nb.generate(given, ["a"], 1),
        lambda: nb.token_scores(given, "a"),
        lambda: nb.judge(given, nb.judging.YES_NO, [{"question": "a", "answer": "b"}]),
    ):
        with pytest.raises(TypeError, match=words):
            call()


def test_a_server_is_refused_where_it_cannot_help():
    server = nb.Endpoint("http://127.0.0.1:1/v1", "m")
    for call in (lambda: nb.generate(server, ["a"], 1), lambda: nb.token_scores(server, "a")):
        with pytest.raises(TypeError, match=r"type Endpoint, .* a server can score answers"):
            call()
