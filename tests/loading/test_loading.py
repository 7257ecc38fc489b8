"""Files from elsewhere: what is incomplete, damaged, odd or hostile becomes one sentence, and no code in them runs."""

import errno
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_gguf import write_gguf
from tiny_models import make_model, make_tokenizer

import nbhelpers as nb
from nbhelpers.loading import reading as loading

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Models as save_pretrained writes them: in one file with a tied head, with a head of its own, and in shards."""
    root, tokenizer = tmp_path_factory.mktemp("saved"), make_tokenizer()
    for name, architecture, size in [("gpt2", "gpt2", "1GB"), ("llama", "llama", "1GB"), ("shards", "llama", "20KB")]:
        make_model(architecture, len(tokenizer)).save_pretrained(root / name, max_shard_size=size)
        tokenizer.save_pretrained(root / name)
    write_gguf(root / "llama.gguf")
    return root


@pytest.fixture
def copy(originals, tmp_path):
    """A copy of one of them that a test may spoil."""
    return lambda name: Path(shutil.copytree(originals / name, tmp_path / name, dirs_exist_ok=True))


def refused(name, match: str | None = None) -> str:
    """The one sentence that loading it gives."""
    with pytest.raises(ValueError, match=match or None) as caught:
        nb.load_model(name)
    said = str(caught.value)
    assert said.startswith("cannot load ") and said.isprintable() and len(said) < 800, said
    return said


def rewrite(folder: Path, change, file: str = "config.json") -> Path:
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))
    return folder


def reweigh(folder: Path, change) -> Path:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# --- complete ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama", "shards", "llama.gguf"])
def test_what_is_complete_loads_as_it_was(originals, name):
    ids = torch.tensor([[5, 60, 70, 90]])
    truth = make_model("gpt2" if name == "gpt2" else "llama", len(make_tokenizer()))
    with torch.inference_mode():
        assert torch.equal(nb.load_model(originals / name).model(ids).logits, truth(ids).logits)


INCOMPLETE = [
    (lambda w: w.pop("lm_head.weight"), r"weights of 1 of its tensors .*\(lm_head.weight\)"),  # not tied
    (lambda w: w.pop("model.norm.weight"), r"\(model.norm.weight\) and would be random"),
    (lambda w: [w.pop(k) for k in list(w) if ".layers.1." in k], r"weights of 9 .*\(model.layers.1.input_layernorm"),
    (lambda w: w.pop("model.embed_tokens.weight"), r"\(model.embed_tokens.weight\)"),
    (lambda w: w.update({"model.norm.weight": torch.ones(5)}), r"of another shape \(model.norm.weight\)"),
    (
        lambda w: w.update({k: v[:-1].clone() for k, v in w.items() if "q_proj" in k}),
        r"weights of 2 .*of another shape \(model.layers.0.self_attn.q_proj",
    ),
    # With a third layer in the file and two in the configuration, the model would be cut short.
    (
        lambda w: w.update({k.replace(".1.", ".2."): v.clone() for k, v in w.items() if ".layers.1." in k}),
        r"more layers than its configuration asks for \(model.layers.2",
    ),
    (lambda w: w.clear(), "weights of 21 of its tensors"),
    (lambda w: [w.update({f"bert.{k}": w.pop(k)}) for k in list(w)], "weights of 21 of its tensors"),
]


@pytest.mark.parametrize("change, message", INCOMPLETE)
def test_nothing_is_filled_with_random_numbers(copy, change, message):
    refused(reweigh(copy("llama"), change), message)


def test_what_a_checkpoint_holds_besides_does_no_harm(copy):
    """Buffers that older versions saved, and heads of a trainer."""
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4), "v_head.summary.weight": torch.ones(1, 32)}
    assert nb.load_model(reweigh(copy("llama"), lambda w: w.update(extra))).context_length == 64


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda n: transformers.T5Model(
                transformers.T5Config(vocab_size=n, d_model=16, d_kv=4, d_ff=16, num_layers=1)
            ),
            "t5 is an encoder-decoder, which reads one",
        ),
        (lambda n: transformers.BartModel(bart_config(n)), "bart is an encoder-decoder, which reads one text and"),
        (lambda n: transformers.LlamaModel(make_model("llama", n).config), r"\(lm_head.weight\) .* without its head"),
        (
            lambda n: transformers.BertModel(transformers.BertConfig(vocab_size=n, **SMALL)),
            "cls.predictions.* without its head",
        ),
        (
            lambda n: transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=n, **SMALL)),
            "saved as BertForMaskedLM, which",
        ),
        (
            lambda n: transformers.DistilBertModel(
                transformers.DistilBertConfig(vocab_size=n, dim=16, n_heads=2, n_layers=1)
            ),
            "no causal",
        ),
        (
            lambda n: transformers.GPT2ForSequenceClassification(make_model("gpt2", n).config),
            "saved as GPT2ForSequenceClassification, which does not predict",
        ),
    ],
)
def test_another_kind_of_model_is_named(tmp_path, make, message):
    tokenizer = make_tokenizer()
    make(len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    refused(tmp_path, message)


def bart_config(n):
    sizes = {
        f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")
    }
    return transformers.BartConfig(vocab_size=n, d_model=16, max_position_embeddings=64, **sizes)


def test_a_decoder_of_bart_alone_is_a_causal_model(tmp_path):
    tokenizer = make_tokenizer()
    transformers.BartForCausalLM(bart_config(len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert nb.load_model(tmp_path).context_length == 64


def test_adapters_and_sentence_embedders_are_named(copy):
    folder = copy("gpt2")
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling"}]')
    refused(folder, "it is a sentence-transformers model, which turns a text into one vector")
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "it is an adapter of PEFT.*pass the result to wrap_model")


# --- hostile -----------------------------------------------------------------------------------------------------

NO_NAMES_OF_SHARDS = [
    "pytorch_model.bin",
    "../x.safetensors",
    "../../x.bin",
    "/etc/x.safetensors",
    "sub/x.safetensors",
    "a\\x.safetensors",
    "C:x.safetensors",
    "x\n.safetensors",
    "x.safetensors\x00",
    "",
    ".",
    None,
    5,
    [],
    {},
    INDEX,
]


@pytest.mark.parametrize("name", NO_NAMES_OF_SHARDS)
def test_an_index_names_safetensors_beside_it_and_nothing_else(copy, name):
    folder = copy("shards")
    torch.save({"lm_head.weight": torch.ones(380, 32)}, folder / "pytorch_model.bin")
    rewrite(folder, lambda index: index["weight_map"].update({"lm_head.weight": name}), INDEX)
    refused(folder, "may only name safetensors files in its own folder")


@pytest.mark.parametrize(
    "index",
    ["", "{", "[]", "null", "{}", '{"weight_map": {}}', '{"metadata": {}, "weight_map": []}', "[" * 100_000, "\x00"],
)
def test_an_index_that_makes_no_sense(copy, index):
    folder = copy("shards")
    (folder / INDEX).write_text(index)
    refused(folder, INDEX)


def test_links_are_followed_as_the_hubs_cache_needs(copy, tmp_path):
    folder = copy("shards")
    for path in sorted(folder.glob("*.*")):
        path.rename(tmp_path / f"blob-{path.name}")
        path.symlink_to(tmp_path / f"blob-{path.name}")
    assert nb.load_model(folder).context_length == 64
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/nowhere")
    refused(folder, "has no config.json")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "unread"]
)
def test_a_pipe_in_the_place_of_a_file_does_not_hang(copy, name):
    folder = copy("gpt2")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, "neither a file nor a folder")


def test_pickles_are_never_read(copy):
    folder = copy("gpt2")
    state = load_file(folder / "model.safetensors")
    for name in ("pytorch_model.bin", "adapter_model.bin"):
        torch.save(state, folder / name)
    rewrite(folder, lambda config: config.update(transformers_weights="adapter_model.bin"))
    refused(folder, "names 'adapter_model.bin' as weights: only safetensors are read")
    rewrite(folder, lambda config: config.update(transformers_weights="../model.safetensors"))
    refused(folder, "only safetensors are read")
    rewrite(folder, lambda config: config.pop("transformers_weights"))
    (folder / "model.safetensors").unlink()
    refused(folder, "model.safetensors is missing .* is a pickle, which could run code")


CODE = {
    "AutoConfig": "odd.C",
    "AutoModelForCausalLM": "odd.M",
    "AutoTokenizer": ["odd.T", "odd.T"],
}


@pytest.mark.parametrize("model_type", ["gpt2", "odd"])
def test_code_that_comes_with_a_model_is_never_run(copy, model_type):
    """Not even where the question on the terminal, which transformers would ask, is answered with yes."""
    folder = copy("gpt2")
    rewrite(folder, lambda config: config.update(model_type=model_type, auto_map=CODE))
    rewrite(folder, lambda config: config.update(tokenizer_class="Odd", auto_map=CODE), "tokenizer_config.json")
    (folder / "custom_generate").mkdir()
    for file in (folder / "odd.py", folder / "custom_generate" / "generate.py", folder / "tokenizers.py"):
        file.write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass C: pass\nM = T = generate = C\n")
    script = f"import nbhelpers as nb; nb.load_model({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], input="y\n" * 9, capture_output=True, text=True, cwd=folder.parent, timeout=300
    )
    assert not (folder / "ran").exists()
    assert "[y/N]" not in done.stdout + done.stderr
    assert done.returncode == 0 or "ValueError: cannot load" in done.stderr, done.stderr


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_a_kernel_from_the_hub_is_not_fetched(copy, key):
    refused(rewrite(copy("llama"), lambda config: config.update({key: "someone/kernel"})), "no code is fetched")


# --- damaged -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 1e-5, 1e-4, 0.01, 0.3, 0.99, 0.99999])
@pytest.mark.parametrize("name", ["llama", "llama.gguf"])
def test_weights_that_are_cut_short(originals, tmp_path, share, name):
    source = originals / name
    folder = tmp_path if name.endswith("gguf") else Path(shutil.copytree(source, tmp_path / name))
    weights = folder / ("b.gguf" if name.endswith("gguf") else "model.safetensors")
    content = (source if source.is_file() else source / "model.safetensors").read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    refused(weights if name.endswith("gguf") else folder, weights.name)


def gguf_header(fields: bytes, count: int = 1, tensors: int = 0) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, count) + fields


ODD_GGUF = [
    (b"", "cut short or no GGUF"),
    (b"GGUF", "cut short or no GGUF"),
    (b"not a model at all, but long enough for a header", "no GGUF file of version 2 or 3"),
    (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "no GGUF file of version 2 or 3 for this kind of machine"),
    (gguf_header(b"", count=2**60), "cut short"),
    (gguf_header(b"", count=0, tensors=2**60), "cut short"),
    # The libraries would count to 2**60: what lies beyond the end is empty, and takes no step.
    (gguf_header(struct.pack("<QcIIQ", 1, b"a", 9, 0, 2**60)), "cut short"),
    (gguf_header(struct.pack("<QcIIQ", 1, b"a", 9, 8, 2**60)), "cut short"),
    (gguf_header(struct.pack("<QcIIQ", 1, b"a", 9, 9, 2**60)), "an array of type 9, which nobody reads"),
    (gguf_header(struct.pack("<QcI", 1, b"a", 77)), "unknown type 77"),
    (gguf_header(struct.pack("<Q", 2**63)), "cut short"),
    (gguf_header(b"", count=0), "."),  # nothing wrong but that there is nothing in it
]


@pytest.mark.parametrize("content, message", ODD_GGUF)
def test_a_gguf_file_that_makes_no_sense(tmp_path, content, message):
    (tmp_path / "a.gguf").write_bytes(content)
    refused(tmp_path / "a.gguf", message)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"architecture": "t5"}, "t5 is an encoder-decoder"),
        ({"architecture": "nonsense"}, "architecture nonsense is not supported"),
        ({"layers": 5}, "weights of 27 of its tensors are missing"),
        ({"layers": 10**9}, "claims 1000000000 layers and 21 tensors"),
        ({"wide": 10**9}, r"asks for 192,000,030,624 parameters, and the weights hold 42,912"),
        ({"layers": 1}, r"claims 1 layers and holds more \(blk.1"),
        ({"leave_out": "blk.1.ffn_down"}, r"\(model.layers.1.mlp.down_proj.weight\) and would be random"),
        ({"leave_out": "token_embd"}, r"\(model.embed_tokens.weight\)"),
    ],
)
def test_a_gguf_file_of_another_kind(tmp_path, options, message):
    write_gguf(tmp_path / "a.gguf", **options)
    refused(tmp_path / "a.gguf", message)


def test_a_gguf_file_is_read_alone(originals, tmp_path, monkeypatch):
    """Whatever lies beside it, or in the current folder under its name."""
    (tmp_path / "there").mkdir()
    path = Path(shutil.copy(originals / "llama.gguf", tmp_path / "there"))
    for folder in (tmp_path, path.parent):
        (folder / "config.json").write_text('{"model_type": "bert"}')
        (folder / "tokenizer.json").write_text("{")
        (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.y", null]}}')
        (folder / "special_tokens_map.json").write_text('{"eos_token": "the"}')
        (folder / "adapter_config.json").write_text("{}")
    (tmp_path / path.name).write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    lm = nb.load_model(path)
    assert lm.tokenizer.eos_token == "<|endoftext|>" and lm.name == str(path)
    monkeypatch.chdir(path.parent)
    assert nb.load_model(path.name).name == path.name


# --- odd ---------------------------------------------------------------------------------------------------------

ODD_CONFIGS = [
    ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000, and the weights are 21 tensors"),
    ("llama", {"num_hidden_layers": 10**30}, "num_hidden_layers = 1000000000000000000000000000000, and"),
    ("gpt2", {"n_layer": 10**9}, "n_layer = 1000000000"),
    ("gpt2", {"n_layer": 0}, "n_layer = 0: it must be 1 or more"),
    ("llama", {"num_hidden_layers": -1}, "num_hidden_layers = -1: it must be 1 or more"),
    ("llama", {"num_hidden_layers": 1}, "more layers than its configuration asks for"),
    ("llama", {"num_hidden_layers": 3}, "weights of 9 of its tensors are missing"),
    ("llama", {"num_hidden_layers": "two"}, "num_hidden_layers"),
    ("llama", {"num_hidden_layers": None}, ""),
    ("llama", {"num_attention_heads": 0}, "num_attention_heads = 0"),
    ("llama", {"num_attention_heads": 3}, ""),
    ("llama", {"hidden_size": 10**12}, ""),
    # What is missing would be allocated and filled before it is called missing.
    ("llama", {"intermediate_size": 10**9}, "asks for 192,000,.* parameters, and the weights hold 42,912"),
    ("llama", {"vocab_size": 10**9}, "asks for 64,000,.* parameters, and the weights hold 42,912"),
    ("llama", {"hidden_size": -5}, ""),
    ("llama", {"hidden_size": 64}, ""),
    ("llama", {"intermediate_size": 1.5}, ""),
    ("llama", {"vocab_size": 10}, ""),  # does not match the embedding
    ("llama", {"vocab_size": "many"}, ""),
    ("llama", {"hidden_act": "frobnicate"}, "frobnicate"),
    ("llama", {"rope_parameters": {"rope_type": "nonsense", "rope_theta": 1.0}}, ""),
    ("llama", {"rope_parameters": [1]}, ""),
    ("llama", {"model_type": None}, ""),
    ("llama", {"model_type": "no-such-type"}, "no-such-type"),
    ("llama", {"model_type": ["llama"]}, ""),
    ("llama", {"model_type": "gpt2"}, ""),
    ("llama", {"model_type": "bert"}, ""),
    ("llama", {"model_type": "t5"}, "t5"),
    ("llama", {"model_type": "x" * 5000}, ""),
    ("llama", {"model_type": "a\x1b[31m\x00\nb"}, ""),
    ("llama", {"is_encoder_decoder": True}, "encoder-decoder"),
    ("llama", {"dtype": "float33"}, ""),
    ("llama", {"quantization_config": 7}, ""),
    ("gpt2", {"n_positions": 10**13}, ""),
]


@pytest.mark.parametrize("name, change, message", ODD_CONFIGS)
def test_an_odd_configuration_is_one_sentence(copy, name, change, message):
    refused(rewrite(copy(name), lambda config: config.update(change)), message)


NO_JSON = ["", "{", "[]", "null", "7", '"text"', "[" * 100_000, '{"a": ' * 100_000, "\x00", "{'model_type': 'gpt2'}"]


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [*NO_JSON, "{}"])
def test_a_file_that_holds_something_else(copy, file, content):
    folder = copy("gpt2")
    (folder / file).write_text(content)
    refused(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"\xff\xfe{}"),
        lambda path: [path.unlink(), path.mkdir()],
        lambda path: path.unlink(),
    ],
)
def test_a_file_that_is_missing_or_no_text(copy, file, spoil):
    folder = copy("gpt2")
    spoil(folder / file)
    try:
        assert nb.load_model(folder).tokenizer.is_fast and file == "tokenizer_config.json"  # it is not needed
    except ValueError:
        refused(folder)


def test_an_empty_tokenizer_is_refused(copy):
    """What transformers makes of a folder without a tokenizer's files differs by model; none of it is of use."""
    for name in ("gpt2", "llama"):
        folder = copy(name)
        for path in folder.glob("tokenizer*"):
            path.unlink()
        refused(folder)


VALUES = [None, "", -1, 0, 10**9, 10**30, 1.5, float("nan"), True, [], {}, "x" * 5000, "\x00", [[]], {"a": {"b": 1}}]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_files_say_it_is_a_model_or_one_sentence(copy, seed):
    """Any value in any place; a model that loads in spite of it is a model, with all of its weights."""
    chance = random.Random(seed)
    for _ in range(5):
        folder = copy(chance.choice(["gpt2", "llama", "shards"]))
        file = chance.choice(["config.json", "config.json", "tokenizer.json", "tokenizer_config.json"])

        def change(content):
            key = chance.choice([*content, "text_config", "auto_map", "added_tokens_decoder", "extra_special_tokens"])
            content[key] = chance.choice(VALUES)

        rewrite(folder, change, file)
        try:
            assert nb.load_model(folder).model.num_parameters() > 10_000
        except ValueError:
            refused(folder)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_header_of_gguf_says_it_is_a_model_or_one_sentence(originals, tmp_path, seed):
    chance, path = random.Random(seed), tmp_path / "a.gguf"
    for _ in range(5):
        content = bytearray((originals / "llama.gguf").read_bytes())
        for _ in range(chance.choice([1, 1, 8])):
            content[chance.randrange(12_000)] = chance.choice([0, 255, chance.randrange(256)])
        path.write_bytes(content)
        try:
            assert nb.load_model(path).model.num_parameters() > 10_000
        except ValueError:
            refused(path)


@pytest.mark.parametrize(
    "name, message",
    [
        ("x" * 5000, r"'x{96} \.\.\.': it is no local folder"),
        ("a\nb", "'a b': it is no local folder"),
        ("a\x00b", "'a b': it is no local folder"),
        ("\x1b[31mred", "it is no local folder"),
        ("\ud800", "it is no local folder"),
        ("~nobody-of-this-name/x", "it is no local folder"),
        ("https://huggingface.co/gpt2", "it is no local folder"),
        ("a/b/c/d", "it is no local folder"),
        ("..", "has no config.json"),
    ],
)
def test_an_odd_name_is_one_sentence(name, message, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    refused(name, message)


@pytest.mark.parametrize("name", ["a\x00.gguf", "x" * 5000 + ".gguf", "\n.gguf"])
def test_an_odd_name_of_a_gguf_file_is_one_sentence(name):
    with pytest.raises(ValueError, match=r"there is no file [ -~]{5,100}: give the path of a .gguf file that exists"):
        nb.load_model(name)


def test_a_single_file_is_no_model(copy):
    with pytest.raises(ValueError, match="is a single file, and not GGUF: give the folder that it lies in"):
        nb.load_model(copy("gpt2") / "model.safetensors")


# --- what passes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pressing", [KeyboardInterrupt, SystemExit, MemoryError, torch.OutOfMemoryError])
def test_ctrl_c_and_a_want_of_memory_pass(originals, monkeypatch, pressing):
    def press(*_, **__):
        raise pressing

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", press)
    with pytest.raises(pressing):
        nb.load_model(originals / "gpt2")


class PanicException(BaseException):
    """As the libraries written in Rust raise it."""


@pytest.mark.parametrize("error", [PanicException("index out\nof bounds"), RecursionError(), OSError(errno.EIO, "I/O")])
def test_any_other_error_is_the_promised_one(originals, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)
    refused(originals / "gpt2")


# --- the Hub -----------------------------------------------------------------------------------------------------


def hub_cache(root: Path, source: Path, commit: str = "a" * 40) -> None:
    """Lay out a model as the Hub's cache has it: a snapshot of links into blobs."""
    snapshot = root / "hub" / "models--some--model" / "snapshots" / commit
    blobs, refs = snapshot.parents[1] / "blobs", snapshot.parents[1] / "refs"
    for folder in (snapshot, blobs, refs):
        folder.mkdir(parents=True)
    (refs / "main").write_text(commit)
    for path in source.iterdir():
        shutil.copy(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", path.name))


@pytest.mark.parametrize(
    "change, expected",
    [
        (None, "LanguageModel('some/model'"),
        (
            lambda index: index["weight_map"].update({"lm_head.weight": "../../x.bin"}),
            "'../../x.bin': it may only name",
        ),
    ],
)
def test_a_model_in_the_hubs_cache_is_held_to_the_same(copy, tmp_path, change, expected):
    """In a process of its own, since the place of the Hub's cache is read at import."""
    folder = copy("shards")
    if change:
        rewrite(folder, change, INDEX)
    hub_cache(tmp_path / "hf", folder)
    script = (
        "import nbhelpers as nb\ntry:\n    print(nb.load_model('some/model'))\nexcept ValueError as e:\n    print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        timeout=300,
    )
    assert expected in done.stdout, done.stdout + done.stderr


def test_the_place_of_a_model_is_its_name(originals):
    source = loading.locate(str(originals / "gpt2"))
    assert source.local and nb.load_model(originals / "gpt2").model.name_or_path == source.location
