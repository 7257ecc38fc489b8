"""What the benchmarks name in strings exists, runs go on as they should, and the GPU's script works but for the GPU."""

import ast
import contextlib
import doctest
import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import nbhelpers as nb
from nbhelpers.embedded import embedded_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture(scope="module")
def random_llama():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import random_model

    sys.path.pop(0)
    model = random_model.make_model("tiny", torch.float32, "cpu")
    return nb.wrap_model(model, random_model.own_tokenizer(), "tiny")


def test_every_function_of_the_profile_is_one_of_the_package():
    import comparisons
    import gpu_trace

    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "nbhelpers").rglob("*.py")]
    functions = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    named = {name for parts in comparisons.PARTS.values() for name in parts}
    assert named and named <= functions
    assert len(functions & set(gpu_trace.HOST_PARTS)) >= 5  # names that are gone are left out, but not all of them


def test_every_step_of_the_hosts_share_is_a_function_of_the_package():
    import host

    for name in (name for names in host.STEPS.values() for name in names):
        module, _, function = f"nbhelpers.{name}".rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


def test_time_counts_for_the_innermost_step(monkeypatch):
    import host

    now = [0.0]
    monkeypatch.setattr(host.time, "process_time", lambda: now[0])

    def takes(seconds, inner=lambda: None):
        def work():
            now[0] += seconds
            inner()
            now[0] += seconds

        return work

    clock = host.Clock()
    masks = clock.timed("masks", takes(10))
    takes(1, clock.timed("forward passes", takes(100, masks)))()
    clock.switch()
    assert clock.seconds == {"masks": 20, "forward passes": 200, host.REST: 2}


@pytest.mark.embedded
def test_our_tools_run_and_the_report_counts_tokens():
    """They import from inside the engine, which the rest of the package does not."""
    import report
    import runs
    import worker

    for tool in ("nbhelpers", "floor"):
        run = worker.TOOLS[tool](str(embedded_folder()), "float32", "cpu")
        assert all(math.isfinite(total) and total < 0 for total in run({"workload": "D", "size": 1}))
    assert "| A | 400 |" in report.sizes()
    page = (ROOT / "benchmarks/README.md").read_text("utf-8")
    tables = [*report.from_bench(runs.read(ROOT / "benchmarks/results.json")), *report.from_gpus()]
    assert report.put(page, "tables", "\n".join(tables)) == page, "run benchmarks/report.py"


def test_the_report_of_processes_takes_ratios_within_a_round():
    import processes

    rounds = [{"one": one, "several": 10.0, "largest_difference": 0.0} for one in (15.0, 19.0, 30.0)]
    settings = {"processes": 2, "questions": 100, "precision": "float32", "device": "cpu"}
    table = processes.report({"rounds": rounds, "tokens_of_one": 9_000, "tokens_of_each": [4_900, 4_950], **settings})
    assert "| 19.00 s | 10.00 s | **1.90** (met) (1.50 to 3.00) | 9,000 | 4,900, 4,950 |" in table


def test_the_tasks_of_the_harness_s_benchmark_are_written_and_its_report_counts_rounds(tmp_path):
    import harness
    import yaml

    harness.write_tasks(tmp_path, dict.fromkeys(harness.TASKS, 3))
    for name in harness.TASKS:
        task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
        assert task["task"] == name
        for file in task["dataset_kwargs"]["data_files"].values():
            assert (tmp_path / file).read_text().count("\n") >= 3, file
    rounds = [{"hf": {"clock": hf, "processor": hf}, "nbhelpers": {"clock": 10, "processor": 5}} for hf in (20, 30, 90)]
    table = harness.report([{"task": "zero_shot", "batch": 8, "rounds": rounds, "largest_difference": 0.0003}])
    assert "| batch 8, 30.0 s | 10.0 s | **3.00** (2.00 to 9.00) | 1.5 (met) | 6.00 | 0.0003 |" in table


def test_examples_in_docstrings():
    import gpu_trace

    found = doctest.testmod(gpu_trace)
    assert found.attempted and not found.failed


def test_a_benchmark_of_one_thread_leaves_the_others_their_threads(monkeypatch):
    """bench.py's workers inherit its environment."""
    import os

    before = dict(os.environ)
    importlib.reload(importlib.import_module("host"))
    assert dict(os.environ) == before


# --- runs ------------------------------------------------------------------------------------------------------------

ABOUT = {"machine": {"cpu": "one", "torch": "2.13"}, "peers": {"lm-eval": "0.4.13"}, "model": None, "code": "abc"}


def test_a_run_goes_on_where_it_stopped_and_replaces_a_part_when_it_is_complete(tmp_path):
    import runs

    file = tmp_path / "results.json"
    old = {"machine": {"cpu": "one"}, "model": None, "float32": {"A": {"rounds": [1]}, "B": {"rounds": [2]}}}
    file.write_text(json.dumps(old))
    results = runs.read(file)
    run = runs.begin(results, ABOUT, {"rounds": 2})
    runs.keep(results, run, "float32", "A", {"rounds": [3]}, 5.0)
    runs.write(file, results)
    results = runs.read(file)
    assert results["float32"]["A"] == {"rounds": [1]}  # the earlier run's, whole
    assert runs.go_on(results, ABOUT) == run
    assert runs.so_far(results, run, "float32", "A") == ({"rounds": [3]}, 5.0)
    assert runs.so_far(results, run, "bfloat16", "A") == runs.so_far(results, "other", "float32", "A") == (None, 0.0)
    runs.keep(results, run, "float32", "A", {"rounds": [3, 4]}, 9.0, complete=True)
    assert runs.of_one_run(results, "float32", "ABC") == {
        run: {"A": {"rounds": [3, 4]}},
        "unnumbered": {"B": {"rounds": [2]}},
    }
    assert list(runs.of_one_run(results, "float32", "ABC")) == [run, "unnumbered"]
    assert results["runs"][run]["seconds"] == {"float32/A": 9.0}
    results["runs"][run]["finished"] = True
    with pytest.raises(ValueError, match="no unfinished run"):
        runs.go_on(results, ABOUT)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"machine": {"cpu": "one", "torch": "2.14"}}, "machine torch: 2.13 then, 2.14 now"),
        ({"machine": {"cpu": "one", "torch": "2.13", "gpu": "H100"}}, "machine gpu: None then, H100 now"),
        ({"machine": {"cpu": "one"}}, "machine torch: 2.13 then, None now"),
        ({"model": "1B"}, "model: None then, 1B now"),
        ({"code": "abd"}, "code: abc then, abd now"),
    ],
)
def test_a_run_does_not_go_on_elsewhere(tmp_path, change, named):
    import runs

    results = runs.read(tmp_path / "none.json")
    runs.begin(results, {**ABOUT, "commit": "1"}, {})
    runs.go_on(results, {**ABOUT, "commit": "2"})  # the code is the same: only something else was committed
    with pytest.raises(ValueError, match=f"cannot go on.*{named}"):
        runs.go_on(results, ABOUT | change)


def test_the_code_of_a_run_is_what_is_measured_and_what_measures(tmp_path):
    import runs

    for name in ("nbhelpers/engine/run.py", "benchmarks/worker.py", "benchmarks/report.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    before = runs.code_in_use(tmp_path)["code"]
    (tmp_path / "benchmarks/report.py").write_text("2")
    assert runs.code_in_use(tmp_path)["code"] == before
    (tmp_path / "nbhelpers/engine/run.py").write_text("2")
    assert runs.code_in_use(tmp_path)["code"] != before
    assert len(list(ROOT.glob(runs.MEASURED[0]))) > 20
    assert all((ROOT / name).exists() for name in runs.MEASURED[1:])


class Counted:
    """A tool that takes a second for every question, and a fixed share of it from batch size 4 on."""

    device = "cpu"

    def __init__(self, share: float) -> None:
        self.share, self.asked = share, []

    def run(self, workload, size=None, batch=1, **job):
        self.asked.append((workload, size, batch))
        return {"seconds": (size or 1) * (1.0 if batch < 4 else self.share), "results": [-1.0] * (size or 1)}


def test_a_comparison_goes_on_with_the_rounds_it_has_and_the_peer_it_chose():
    import comparisons

    plan = comparisons.Plan(2, 5, 10, (1, 4), (1,))
    tools = {"nbhelpers": Counted(1), "floor": Counted(1), "lm-eval": Counted(0.5), "minicons": Counted(0.4)}
    kept = []
    found = comparisons.compare(tools, "A", plan, 1, lambda found: kept.append(json.loads(json.dumps(found))))
    assert (found["peer"], found["batch"]) == ("minicons", 4)
    assert found["rounds"] == [{"ours": 10.0, "peer": 4.0, "floor": 10.0}]  # 5 of 10 questions, doubled
    before = len(tools["minicons"].asked)
    found = comparisons.compare(tools, "A", plan, 3, kept.append, kept[-1])
    assert len(found["rounds"]) == 3
    assert tools["minicons"].asked[before:] == [("A", 5, 4)] * 2  # two rounds more, and no trial again


def test_the_report_labels_each_table_with_its_run_and_holds_e_against_the_floor(monkeypatch):
    import report

    rounds = {name: 1.0 for name in ("disjoint", "lm-eval", "stride 512", "guide")}
    part = {"rounds": [rounds | {"floor": 0.98}], "batch": 1}
    line = next(line for line in report.speed({"E": part}).splitlines() if "E disjoint" in line)
    assert line.endswith("|  | 0.98 (met) |")  # no target for the ratio, 0.97 for the share
    line = next(line for line in report.speed({"E": {**part, "rounds": [rounds]}}).splitlines() if "disjoint" in line)
    assert line.endswith("|  | not measured |")
    results = {
        "runs": {"old": {"machine": {}}, "new": {"machine": {}}},
        "run_of": {"float32/E": "new", "float32/B": "old"},
        "float32": {"E": part, "B": {"rounds": [{"ours": 1, "peer": 3}], "peer": "minicons", "batch": 4}},
    }
    monkeypatch.setattr(report, "sizes", str)
    text = "\n".join(report.from_bench(results))
    new, old = text.index("Run `new`"), text.index("Run `old`")
    assert new < text.index("| E disjoint") < old < text.index("| B | minicons")


def test_claims_name_their_run_and_say_what_is_missed_or_was_not_measured():
    import claims

    def a(ours, floor):
        return {"rounds": [{"ours": ours, "peer": 30.0, "floor": floor}] * 3}

    results = {
        "runs": {"old": {}, "new": {}},
        "run_of": {"float32/A": "new", "bfloat16/A": "old", "float32/memory": "new"},
        "float32": {
            "A": a(1.0, 0.9),
            "memory": {f"{part}: {tool}": [10] for part in "AE" for tool in ("nbhelpers", "lm-eval, batch 1")},
        },
        "bfloat16": {"A": a(3.0, 0.9)},
    }
    text = claims.claims(results)
    assert "peer | 30.00 (met) | 10.00 (**missed**) | at least 15 | `new`, `old` |" in text
    assert "| Share of the floor on A | 0.90 (met) | 0.30 (**missed**) | at least 0.85 | `new`, `old` |" in text
    assert (
        "on A: share of lm-eval's at batch size 1 | 1.00 (**missed**) | not measured | at most 0.25 | `new` |" in text
    )
    assert "| Requests that share nothing (D) | not measured | not measured | at least 1.15 |  |" in text


def test_the_page_s_claims_are_those_of_the_results():
    import claims
    import report
    import runs

    page = (ROOT / "benchmarks/README.md").read_text("utf-8")
    results = runs.read(ROOT / "benchmarks/results.json")
    assert report.put(page, "claims", claims.claims(results)) == page, "run benchmarks/report.py"
    assert report.put("a\n<!-- begin: x, written by report.py -->\nold\n<!-- end: x -->\nb", "x", "new\n") == (
        "a\n<!-- begin: x, written by report.py -->\n\nnew\n\n<!-- end: x -->\nb"
    )


# --- on a GPU --------------------------------------------------------------------------------------------------------


def test_the_gpu_script_runs_here_with_a_tiny_model(tmp_path, monkeypatch, capsys):
    """All that this cannot see is CUDA itself."""
    import gpu
    import workloads

    text = workloads.long_text()[:20_000]
    monkeypatch.setattr(workloads, "long_text", lambda: text)
    file = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--shapes", "tiny", "--rounds", "1", "--sets", "4", "--results", str(file)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments, "--limit", str(10_000 + gpu.time.monotonic() - gpu.BEGUN)])
    assert gpu.main() == 0
    printed = capsys.readouterr().out
    results = json.loads(file.read_text())
    assert results["left_out"] == {}
    assert set(results["parts"]["tiny"]) == {
        *("load", "A", "B", "D", "E", "head memory", "trace"),
        *("tokens in a pass", "slices of the head", "attention in blocks", "FlexAttention"),
    }
    assert results["parts"]["all"]["correctness"]["float32"]["sets"] == 4
    assert all(one["apart"] < 1e-5 for one in results["parts"]["tiny"]["FlexAttention"])
    assert results["parts"]["tiny"]["A"]["apart"] < 1  # in bfloat16 the peer's numbers are close, and no more
    assert printed.count("| met |") == 3  # float32, bfloat16 and TF32
    assert printed.count("| not run |") == 14  # the speeds, shares and logits of shapes that were not asked for
    assert "Left out" not in printed


def test_what_does_not_fit_the_limit_is_left_out_and_named(monkeypatch, tmp_path):
    import gpu

    def slow(save):
        save({"rounds": [1]})
        for _ in range(500):  # five seconds, if nothing stops it
            with contextlib.suppress(Exception):  # as tools do: only what is no Exception gets through
                gpu.time.sleep(0.01)

    def broken(save):
        raise RuntimeError("no kernel")

    done = lambda save: "done"  # noqa: E731
    parts = [("", "slow", slow), ("8B", "load", broken), ("8B", "A", done), ("1B", "load", done), ("1B", "A", broken)]
    monkeypatch.setattr(gpu, "order", lambda options: iter(parts))
    monkeypatch.setattr(gpu, "LONGEST_PART", 0.2)
    results = {"parts": {}, "left_out": {}, "seconds": {}}
    options = SimpleNamespace(limit=10_000 + gpu.time.monotonic() - gpu.BEGUN, device="cpu")
    gpu.run(options, results, lambda: None)
    assert results["parts"]["all"] == {"slow": {"rounds": [1]}}
    assert results["parts"]["1B"] == {"load": "done"}
    assert results["left_out"].pop("slow").startswith("cut off after")
    assert results["left_out"] == {
        "8B load": "RuntimeError: no kernel",
        "8B A": "8B was not loaded",
        "1B A": "RuntimeError: no kernel",
    }
    results = {"parts": {}, "left_out": {}, "seconds": {}}
    gpu.run(SimpleNamespace(limit=0, device="cpu"), results, lambda: None)
    assert set(results["left_out"].values()) == {"no time was left"} and len(results["left_out"]) == len(parts)


def test_the_targets_are_met_missed_or_not_run():
    import gpu_report

    rounds = [{"ours": 1.0, "peer": ratio, "floor": 0.6} for ratio in (9, 11, 12)]
    windows = {"disjoint": 1.0, "lm-eval": 0.9, "floor": 0.8, "stride 512": 1.0, "guide": 2.0}
    results = {
        "parts": {
            "8B": {
                "A": {"rounds": rounds, "peer": "minicons", "batch": 32},
                "D": {"rounds": rounds[:1], "peer": "minicons", "batch": 32},
                "E": {"rounds": [windows] * 3, "peer": "lm-eval", "batch": 8},
                "head memory": {"A": {"largest": 1e6}, "E": {"largest": 67_108_864}},
            }
        }
    }
    text = gpu_report.targets(results)
    assert "| 8B: A at least 10.0 times as fast | 11.00 (minicons, batch 32) | met |" in text
    assert "| 8B: A at 0.7 of the floor or more | 0.60 | **missed** |" in text
    assert "| 8B: B at least 1.5 times as fast |  | not run |" in text
    assert "| 9.00 (minicons, batch 32) | met, but in 1 of 3 rounds only |" in text
    assert "| 8B: E disjoint at least 1.0 times as fast | 0.90 (lm-eval, batch 8) | **missed** |" in text
    assert "| 8B: E stride 512 at least 1.9 times as fast | 2.00 (guide, batch 1) | met |" in text
    assert "| 8B: E disjoint at 0.7 of the floor or more | 0.80 | met |" in text
    assert "| 8B: logits never above 64 MB | 67.1 MB | **missed** |" in text
    assert not gpu_report.correct(results)
    wanting = {"wanted": 240, "sets": 180, "tokens": 9, "wrong": [], "largest": 1e-6, "sum": 1.0, "theirs_sum": 1.0}
    half = wanting | {"sets": 240, "theirs_largest": 0.1}
    tf32 = {"setting": "highest", "relative_error_of_a_product": 3e-4, "off": False}
    found = {"float32": wanting, "bfloat16": half, "tf32": tf32}
    assert [row[2] for row in gpu_report.correctness_rows(found)] == ["not finished", "met", "**missed**"]
    results["parts"]["all"] = {"correctness": found}
    assert not gpu_report.correct(results)


def test_plain_batching_gives_our_totals(random_llama):
    """It takes the peers' place where they are not installed, so it has to do the whole of their work."""
    import gpu_tools
    import workloads

    plain = gpu_tools.plain_on(random_llama.model, random_llama.tokenizer, "cpu")
    prompts, answers = zip(*workloads.requests("B", 3), strict=True)
    ours = [score.total for score in nb.score_answers(random_llama, prompts, answers)]
    assert plain({"workload": "B", "size": 3, "batch": 5}) == pytest.approx(ours, abs=1e-2)


def test_the_floor_reads_the_same_tokens_in_any_number_of_rows(random_llama):
    import worker

    floor = worker.floor_on(random_llama)
    one, three = (sum(floor({"workload": "D", "size": 10, "batch": batch})) for batch in (1, 3))
    assert one == pytest.approx(three, rel=1e-5)


def test_the_floor_of_e_is_a_bare_forward_pass_that_gives_our_number(random_llama, monkeypatch):
    import worker
    import workloads

    text = workloads.long_text()[:12_000]  # some windows, and one that begins earlier so that it is full
    monkeypatch.setattr(workloads, "long_text", lambda: text)
    ours = nb.perplexity(random_llama, text, window=worker.WINDOW, stride=worker.WINDOW)
    assert ours.tokens % worker.WINDOW and ours.tokens > 2 * worker.WINDOW
    for batch in (1, 8):
        assert -sum(worker.floor_on(random_llama)({"workload": "E", "batch": batch})) == pytest.approx(
            ours.nats, rel=1e-6
        )


def test_the_logits_that_the_head_holds_are_measured(random_llama):
    import gpu_tools
    import gpu_trace
    import worker

    ours = gpu_tools.InProcess(worker.nbhelpers_on(random_llama), random_llama)
    found = gpu_trace.head_memory(ours, 4, lambda found: None)
    assert found["E"]["largest"] == 256 * 2_048 * 4  # a slice of the head on a CPU, in float32
    assert 0 < found["A"]["largest"] <= 256 * 2_048 * 4


def test_a_view_holds_no_memory_of_its_own():
    import gpu_trace

    with gpu_trace.Largest() as watched:
        row = torch.zeros(10)
        row.expand(1_000, 10)
        torch.cat([row, row])
    assert watched.bytes == 20 * 4


def test_the_yardstick_in_bfloat16_begins_where_the_oracle_does(gpt2):
    """An answer after an empty prompt stands behind the tokenizer's start token, and one after a prompt does not."""
    import gpu_correctness
    import oracle
    from cases import start_tokens

    truth = gpu_correctness.Truth(oracle.in_float64(gpt2.model))
    for prompt, answer in (("", "Paris is"), ("The capital", " of France")):
        ids, expected, *_ = oracle.answer(truth, gpt2.tokenizer, prompt, answer, *start_tokens(gpt2))
        assert gpu_correctness.by_transformers(gpt2, truth, ids, prompt, answer) == pytest.approx(expected, abs=1e-4)


def test_a_trace_tells_the_gpu_s_time_from_the_host_s():
    import gpu_trace

    def event(name, begin, end, device="CUDA", **more):
        span = SimpleNamespace(start=begin * 1e6, end=end * 1e6)
        return SimpleNamespace(
            name=name, time_range=span, device_type=getattr(torch.autograd.DeviceType, device), **more
        )

    found = gpu_trace.from_gpu(
        [
            event("gemm", 0, 2),
            event("gemm", 1, 3),  # on another stream
            event("softmax", 5, 6),
            event("a range", 0, 9, is_user_annotation=True),
            event("cudaLaunchKernel", 0, 1, "CPU"),
            event("cudaStreamSynchronize", 4, 6, "CPU"),
            event("aten::mm", 0, 1, "CPU"),
        ]
    )
    assert found == {
        "busy_seconds": pytest.approx(4),
        "launches": 1,
        "launch_seconds": pytest.approx(1),
        "wait_seconds": pytest.approx(2),
        "kernels": [["gemm", 2, pytest.approx(4)], ["softmax", 1, pytest.approx(1)]],
    }


@pytest.mark.parametrize("budget", [1, 3, 7, 100])
def test_flexattention_s_rule_is_the_tree_s_mask(budget):
    import gpu_levers

    from nbhelpers.engine import prefix_tree

    rng = np.random.default_rng(budget)
    rows = [rng.integers(0, 2, size=rng.integers(1, 9)) for _ in range(12)]
    tree = prefix_tree.build_tree(rows)
    for chunk in prefix_tree.cut_chunks(tree, budget):
        rule = gpu_levers.tree_rule(tree, chunk, "cpu")
        queries = chunk.end - chunk.begin
        mask = gpu_levers.whole_mask(rule, queries, len(chunk.path) + queries, "cpu")
        # Independently of the engine's mask: every node sees the nodes on the way from its root.
        nodes = [*chunk.path, *range(chunk.begin, chunk.end)]
        for query in range(queries):
            node = chunk.begin + query
            above = set(prefix_tree.last_nodes(tree, node, tree.depths[node] + 1))
            assert mask[query].tolist() == [key in above for key in nodes]


def test_the_report_of_scoring_through_vllm():
    import through_vllm
    import workloads

    counts = through_vllm.count_tokens(
        SimpleNamespace(tokenizer=lambda text: {"input_ids": list(text)}), [("ab", "c"), ("ab", "d")]
    )
    assert counts == {"all": 6, "distinct": 4}
    assert len(workloads.shared_examples(20)) == 80
    form = {name: {"clock": 1.0, "processor": 0.5, "bytes": 2000} for name in through_vllm.FORMS}
    rounds = [
        {
            "vllm": {"clock": theirs, "processor": 2 * theirs},
            "nbhelpers": {"clock": 5, "processor": 10},
            "largest_difference": 0.0002,
            "forms": form,
        }
        for theirs in (100, 50, 200)
    ]
    table = through_vllm.report({"requests": 80, "tokens": {"all": 40000, "distinct": 3000}, "rounds": rounds})
    assert "| 80 | 40,000 | 3,000 | 100.0 s | 5.0 s | **20.0** (10.0 to 40.0) | 20.0 | 0.0002 nats |" in table
    assert table.count("| 2 | 0.50 | 1.00 s |") == len(through_vllm.FORMS)
