"""What the documentation says is so."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from numpydoc.docscrape import ClassDoc
from PIL import Image

import cxr_sklearn
from cxr_sklearn import model_selection, quality
from cxr_sklearn.datasets import make_chest_phantoms

from .public_names import PUBLIC_NAMES

ROOT = Path(__file__).parent.parent
ESTIMATORS = [
    getattr(cxr_sklearn, name)
    for name in cxr_sklearn.__all__
    if name not in ("CacheFolder", "clear_cache")
]
DOCS = ROOT / "docs"
GUIDE = [DOCS / "get_started.md", *sorted((DOCS / "user_guide").glob("*.md"))]
PAGES = [DOCS / "index.md", *GUIDE]
TROUBLESHOOTING = DOCS / "user_guide" / "troubleshooting.md"
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_docstrings_name_every_parameter_in_order(kind):
    """A docstring's parameters are those of the constructor."""
    documented = [entry.name for entry in ClassDoc(kind)["Parameters"]]
    assert sorted(documented) == sorted(kind().get_params())


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_docstrings_name_the_defaults(kind):
    """A default in a docstring is the constructor's."""
    documented = {entry.name: entry.type for entry in ClassDoc(kind)["Parameters"]}
    for name, value in kind().get_params().items():
        match = re.search(r"default=(\S+)$", documented[name])
        if match is None:
            assert value is None, name
        else:
            assert eval(match.group(1)) == value, name


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_fitted_attributes_are_documented(kind, phantoms, tmp_path):
    """Every public attribute that fit sets stands in the docstring."""
    from .toys import toy

    X, y = phantoms
    if kind is cxr_sklearn.XRayLoader:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "xray.png")
        model = kind()
        model.fit_transform([tmp_path / "xray.png"])
    else:
        model = kind(backbone=toy, weights=None, image_size=16, random_state=0).fit(X, y)
    documented = {entry.name for entry in ClassDoc(kind)["Attributes"]}
    found = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert found <= documented
    for name in documented - {"feature_names_in_"}:
        assert hasattr(model, name), name


def test_every_public_name_has_a_docstring_with_an_example():
    """Each public class and function shows how it is used."""
    # The classes of results are shown where the function is that returns them.
    results = {quality.Audit, quality.Curation, quality.Finding, model_selection.SplitReport}
    for module, name in PUBLIC_NAMES:
        thing = getattr(sys.modules[module], name)
        if thing not in results and not name.endswith("Warning"):
            assert ">>> " in thing.__doc__, thing


@pytest.fixture(scope="module")
def resnet50_file(tmp_path_factory):
    """Return a file of torchvision's format with a ResNet50's weights."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(torchvision.models.resnet50().state_dict(), path)
    return path


@pytest.fixture
def folder_of_xrays(tmp_path, monkeypatch, resnet50_file):
    """Work in a folder that has what the snippets name: a folder of X-rays, and weights."""
    X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    for label in sorted(set(y)):
        (tmp_path / "xrays" / label).mkdir(parents=True)
        for i, row in enumerate(X[y == label]):  # two xrays of each patient
            name = f"{sorted(set(y)).index(label)}{i // 2:07d}_{i % 2:03d}.png"
            Image.fromarray(row.reshape(32, 32)).save(tmp_path / "xrays" / label / name)
    (tmp_path / "resnet50.pth").hardlink_to(resnet50_file)
    monkeypatch.chdir(tmp_path)


def test_readme_snippet_runs(folder_of_xrays):
    """The ten lines of the README run as they stand, in a folder that has what they name."""
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = snippet.group(1).replace("random_state=0", "random_state=0, image_size=32, max_epochs=2")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hidden_layer_sizes" in done.stdout


def test_the_version_is_one():
    """The package's version is the project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == cxr_sklearn.__version__


def test_importing_is_quiet_and_loads_no_plots():
    """Importing the package prints nothing, warns of nothing and leaves matplotlib alone."""
    code = "import sys, cxr_sklearn; assert 'matplotlib' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


# -- the pages ------------------------------------------------------------------------------------


class NearlyEqual(doctest.OutputChecker):
    """Take figures for equal that other processors may round or train otherwise."""

    SECONDS = re.compile(r"\d+\.\d s$", re.MULTILINE)
    # numpy pads shorter ones
    NUMBER = re.compile(r" *-?\d+\.\d*(?:e[-+]?\d+)? *")

    def check_output(self, want, got, optionflags):
        """Compare the text, and then decimal numbers by their distance."""
        want, got = (self.SECONDS.sub("some s", text) for text in (want, got))
        if super().check_output(want, got, optionflags):
            return True
        wanted, found = ([float(n) for n in self.NUMBER.findall(text)] for text in (want, got))
        want, got = (self.NUMBER.sub("#", text) for text in (want, got))
        if "..." in want:  # it stands for more numbers
            found = found[: len(wanted)]
        is_near = len(wanted) == len(found) and np.allclose(wanted, found, atol=0.25)
        return is_near and super().check_output(want, got, optionflags)


def run_page(path):
    """Run the fenced Python of a page from top to bottom, and compare what prompts print."""
    names = {"__name__": "__main__"}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(NearlyEqual(), verbose=False, optionflags=flags)
    text = path.read_text(encoding="utf-8")
    fences = re.finditer(r"^( *)```(python|pycon)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    report = []
    for fence in fences:
        line = text[: fence.start(3)].count("\n")
        code = textwrap.dedent(fence.group(3))
        if fence.group(2) == "python":
            exec(compile("\n" * line + code, str(path), "exec"), names)
        else:
            test = doctest.DocTestParser().get_doctest(code, {}, path.name, str(path), line)
            test.globs = names
            runner.run(test, out=report.append, clear_globs=False)
    assert not runner.failures, "".join(report)


@pytest.mark.slow
# a fold of ten xrays may show none of a class
@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_snippets_of_the_pages_run(path, folder_of_xrays):
    """The Python on a page runs as it stands, and prints what the page says it prints."""
    run_page(path)


@pytest.mark.parametrize(("module", "name"), PUBLIC_NAMES)
def test_public_names_are_documented(module, name):
    """Each public name stands in a page of the guide, in an example and in the API reference."""
    word = re.compile(rf"\b{name}\b")
    api = (DOCS / "api.rst").read_text(encoding="utf-8")
    sections = re.split(r"^\.\. currentmodule:: ", api, flags=re.MULTILINE)
    listed = [part for part in sections if part.startswith(f"{module}\n")]
    places = {
        "a page of docs/user_guide": [p.read_text(encoding="utf-8") for p in GUIDE],
        "a script examples/**/plot_*.py": [
            p.read_text(encoding="utf-8") for p in (ROOT / "examples").rglob("plot_*.py")
        ],
        f"docs/api.rst below {module}": listed,
    }
    missing = [place for place, texts in places.items() if not any(map(word.search, texts))]
    assert not missing, f"{module}.{name} is missing from {' and from '.join(missing)}"


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_guide_names_every_parameter(kind):
    """Each hyperparameter stands in a page of the guide, as code."""
    code = " ".join(
        part for p in GUIDE for part in re.findall(r"```.*?```|`[^`]+`", p.read_text(), re.DOTALL)
    )
    missing = [name for name in kind().get_params() if not re.search(rf"\b{name}\b", code)]
    assert not missing, f"{kind.__name__}: {', '.join(missing)}"


def messages():
    """Return the messages of errors and warnings in the sources, values written as an ellipsis."""
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if re.search(r"(Error|^warnings\.warn|^_warn)$", ast.unparse(node.func)):
                parts = getattr(node.args[0], "values", [node.args[0]])  # of an f-string
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts
                )
                if text.strip("…"):
                    found[text] = f"{path.name}:{node.lineno}"
    return found


# of functions that a user does not call
INTERNAL = ("pairwise", "module … has no attribute")


def test_every_message_is_explained():
    """Troubleshooting quotes each message of the sources, and none that is not there."""
    text = TROUBLESHOOTING.read_text(encoding="utf-8")
    quoted = re.findall(r"^`+ ?(.+?) ?`+\n: ", text, re.MULTILINE)
    assert len(quoted) == len(set(quoted))
    own = {text: place for text, place in messages().items() if not text.startswith(INTERNAL)}
    missing = [f"{place}: {text}" for text, place in own.items() if text not in quoted]
    stale = [text for text in quoted if text not in own]
    assert not missing, "not in troubleshooting.md:\n" + "\n".join(missing)
    assert not stale, "in troubleshooting.md, but in no source:\n" + "\n".join(stale)


GOOD_PAGE = '<h1 id="here">a</h1><a href="b.html#there">b</a><a href="#here">a</a>'


@pytest.mark.parametrize(
    ("more", "reported"),
    [
        ("", None),
        ('<a href="https://example.org/gone">another site is not asked</a>', None),
        ('<a href="c.html">c</a>', "c.html does not exist"),
        ('<a href="b.html#gone">b</a>', "b.html#gone has no such place"),
        ('<a href="#gone">a</a>', "#gone has no such place"),
        ('<img src="gone.png">', "gone.png does not exist"),
        ('<img src="b.html" srcset="b.html, gone.png 2x">', "gone.png does not exist"),
        ('<a href="../outside.html">outside</a>', "../outside.html does not exist"),
        ('<script src="https://example.org/x.js"></script>', "loaded from elsewhere"),
    ],
)
def test_broken_links_are_found(more, reported, tmp_path):
    """The check of the built pages passes good links, and names a broken one and its page."""
    (tmp_path / "site").mkdir()
    (tmp_path / "outside.html").touch()
    (tmp_path / "site" / "a.html").write_text(GOOD_PAGE + more)
    (tmp_path / "site" / "b.html").write_text('<p id="there">b</p>')
    done = subprocess.run(
        [sys.executable, DOCS / "check_links.py", tmp_path / "site"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (reported is not None), done.stdout + done.stderr
    if reported:
        assert done.stdout.startswith("a.html: ")
        assert reported in done.stdout


def test_commands_in_the_documentation_exist():
    """Every ``cxr-sklearn`` line of README and pages names a command and options that there are."""
    from cxr_sklearn._cli import main as program

    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = 0
    for file in files:
        text = file.read_text().replace("\\\n", " ")
        for line in re.findall(r"^ *(?:\$ )?cxr-sklearn +([^#\n]*)", text, re.MULTILINE):
            words = shlex.split(line)
            command = program.commands[words[0]]
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known | {"--help"}, line
            found += 1
    assert found >= 10
