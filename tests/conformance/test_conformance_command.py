"""The command: exit statuses, and a sentence where nothing can be checked."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from completions_server import CompletionsServer

from nbhelpers.conformance import command, write_model


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_our_engine_passes_with_status_0(capsys):
    assert command.main(["nbhelpers", "--architecture", "counts", "--architecture", "gpt2"]) == 0
    out = capsys.readouterr().out
    assert "nbhelpers on counts: 9 of 9 properties hold" in out and "nbhelpers on gpt2: 9 of 9" in out
    assert out.endswith("Every property holds.\n")


def test_the_usual_loop_fails_with_status_1(capsys):
    assert command.main(["transformers", "--architecture", "counts"]) == 1
    out = capsys.readouterr().out
    assert "BOS           FAILS" in out and "boundary      FAILS" in out and "padding       holds" in out


def test_a_written_folder_is_recognised(tmp_path, capsys):
    folder = tmp_path / "known"
    assert command.main(["--write", str(folder), "--architecture", "counts"]) == 0
    assert capsys.readouterr().out == f"wrote {folder}\n"
    assert command.main([str(folder)]) == 0
    assert "nbhelpers on counts: 9 of 9" in capsys.readouterr().out


def test_a_server_is_asked(tmp_path, capsys):
    folder = write_model(tmp_path / "known", "counts")
    server = CompletionsServer("counts")
    try:
        assert command.main([server.url, "--folder", str(folder), "--concurrency", "1"]) == 0
        assert {body["model"] for body in server.bodies} == {str(folder)}
        another = [server.url, "--architecture", "llama", "--model", "served", "--concurrency", "1"]
        assert command.main(another) == 1
        assert server.bodies[-1]["model"] == "served"
    finally:
        server.close()
    out = capsys.readouterr().out
    assert "concurrency   not asked" in out and "no known fault explains them" in out


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "give a TARGET, or --write FOLDER"),
        (["--write", "here", "--architecture", "llama", "--architecture", "gpt2"], "--write writes one model"),
        (["nbhelpers", "--write", "here"], "checks nothing: give one --architecture and no TARGET"),
        (["vllm"], "'vllm' is no target: give nbhelpers, transformers, lm-eval:hf"),
        (["nbhelpers:fast"], "'nbhelpers:fast' is no target"),
        (["lm-eval:"], "'lm-eval:' is no target"),
        (["http://127.0.0.1:9/v1"], "say which model the server serves"),
        (["http://127.0.0.1:9/v1", "--architecture", "llama"], "--model NAME"),
        (["http://127.0.0.1:9/v1?key=1", "--architecture", "llama", "--model", "m"], "a password or a query"),
        (["nbhelpers", "--tolerance", "0", "--architecture", "counts"], "tolerance=0.0: give nats per token"),
        (["nbhelpers", "--concurrency", "0", "--architecture", "counts"], "concurrency=0: give a number of threads"),
        (["nbhelpers", "--dtype", "float3", "--architecture", "counts"], "float3"),
    ],
)
def test_what_cannot_be_checked_is_said_with_status_2(arguments, said, capsys):
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_another_folder_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert command.main([str(tmp_path)]) == 2
    assert "holds no model whose answers are known" in capsys.readouterr().err


def test_without_the_harness_the_pip_command_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert command.main(["lm-eval:hf", "--architecture", "counts"]) == 2
    assert "run pip install 'lm-eval[hf]'" in capsys.readouterr().err


def test_a_model_that_the_harness_does_not_know_is_named(monkeypatch, capsys):
    def raises(name):
        raise KeyError(name)

    for name in ("lm_eval", "lm_eval.models", "lm_eval.api", "lm_eval.api.instance", "lm_eval.api.registry"):
        stand_in = SimpleNamespace(models=None, Instance=None, get_model=raises)
        monkeypatch.setitem(sys.modules, name, stand_in)
    assert command.main(["lm-eval:dance", "--architecture", "counts"]) == 2
    assert "lm-eval:dance cannot be set up: KeyError: 'dance'" in capsys.readouterr().err


def test_help_is_for_a_person():
    done = subprocess.run(
        [sys.executable, "-m", "nbhelpers.conformance.command", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for words in ("TARGET is what computes them", "--write /tmp/known", "Exit status: 0 if every property holds"):
        assert words in done.stdout
    assert subprocess.run([sys.executable, "-m", "nbhelpers.conformance.command", "--dance"]).returncode == 2
