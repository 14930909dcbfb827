"""The files around the package: metadata, workflows, citation."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import cxr_sklearn

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read_yaml(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_versions_agree(project):
    citation = read_yaml(ROOT / "CITATION.cff")
    assert project["version"] == cxr_sklearn.__version__ == str(citation["version"])
    assert project["license"] == citation["license"]


def test_ci_covers_each_stated_python_on_three_systems(project):
    matrix = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]["matrix"]["strategy"]["matrix"]
    stated = {
        classifier.split(" :: ")[-1]
        for classifier in project["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", classifier)
    }
    assert set(matrix["python"]) == stated
    assert min(stated, key=lambda version: int(version[2:])) == project["requires-python"][2:]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_commands_that_exist(path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    commands = []
    for job in read_yaml(path)["jobs"].values():
        assert job["timeout-minutes"] <= 90
        commands += [step["run"] for step in job["steps"] if "run" in step]
    for command in commands:
        called = re.match(r"make ([a-z-]+)", command)
        if called:
            assert called[1] in targets
        elif command.startswith(".ci/"):
            assert (ROOT / command).is_file()
    # A workflow reads the repository, unless a job states that it needs more.
    assert read_yaml(path)["permissions"] == {"contents": "read"}


def test_release_is_published_from_a_tag_by_trusted_publishing():
    workflow = read_yaml(ROOT / ".github/workflows/release.yml")
    trigger = workflow[True]  # YAML reads the key "on" as true
    assert list(trigger) == ["push"]
    assert trigger["push"] == {"tags": ["v*"]}
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert "password" not in text.replace("no password", "")


def test_dependabot_updates_packages_and_actions():
    updates = read_yaml(ROOT / ".github/dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "github-actions"}


def test_extra_all_contains_every_extra_for_users(project):
    extras = project["optional-dependencies"]
    (requirement,) = extras["all"]
    included = set(re.search(r"\[(.+)\]", requirement)[1].split(","))
    for_developers = {"all", "test", "docs", "lint", "build"}
    assert included == set(extras) - for_developers


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_demo_installs_no_tools(tmp_path):
    def commands(target: str) -> str:
        options = [f"VENV={tmp_path / 'venv'}", f"PYTHON={sys.executable}"]
        done = subprocess.run(
            ["make", "--dry-run", target, *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert "'.[plot]'" in commands("demo")
    assert "test" not in commands("demo").replace(str(tmp_path), "").replace("test -x", "").replace(
        "testing a model", ""
    )
    assert "'.[plot,test,docs,lint,build]'" in commands("test")
