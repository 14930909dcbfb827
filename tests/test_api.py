"""The public interface changes only on purpose: tests/api.txt lists it.

Run ``python -m tests.test_api`` to write the file after an intended change.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest

from .public_names import MODULES

SNAPSHOT = Path(__file__).with_name("api.txt")
UPDATE = "python -m tests.test_api"


def public_interface() -> list[str]:
    """Return a line per public function, class, method, attribute and parameter."""
    loader = griffe.GriffeLoader(
        search_paths=[Path(__file__).parents[1] / "src"],
        extensions=griffe.load_extensions("dataclasses"),
    )
    package = loader.load("cxr_sklearn")
    loader.resolve_aliases(implicit=True, external=False)
    lines = []
    for module in MODULES:
        found = package if module.__name__ == "cxr_sklearn" else package[module.__name__[12:]]
        for name in sorted(module.__all__):
            lines += _lines_of(found[name], f"{module.__name__}.{name}")
    return lines


def _lines_of(item: griffe.Object | griffe.Alias, name: str) -> Iterator[str]:
    if item.is_alias:
        item = item.final_target
    if item.is_function:
        yield f"{name}()"
        yield from _parameters(item.parameters, name)
    elif item.is_class:
        yield f"class {name}"
        yield from _parameters(_constructor(item), name)
        # Of other packages' base classes nothing is listed: these packages decide about them.
        for member_name, member in sorted(item.all_members.items()):
            if not member_name.startswith("_"):
                yield from _member(member, f"{name}.{member_name}")
    else:
        yield name


def _constructor(item: griffe.Class) -> list[griffe.Parameter]:
    """Return the parameters of the constructor, which a dataclass may inherit."""
    return [p for p in item.parameters if p.name != "self"]


def _member(member: griffe.Object | griffe.Alias, name: str) -> Iterator[str]:
    if member.is_alias:
        member = member.final_target
    if member.is_function:
        yield f"{name}()"
        yield from _parameters(member.parameters, name)
    else:
        yield name


def _parameters(parameters: list[griffe.Parameter], name: str) -> Iterator[str]:
    for parameter in parameters:
        if parameter.name == "self":
            continue
        default = "" if parameter.default is None else f" = {parameter.default}"
        yield f"{name}({parameter.kind.value}: {parameter.name}{default})"


def test_public_interface_is_the_documented_one():
    expected = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    found = public_interface()
    difference = list(difflib.unified_diff(expected, found, "tests/api.txt", "now", lineterm=""))
    message = (
        f"the public interface changed. If that is intended, run `{UPDATE}`, and add a line to "
        "docs/whats_new.md:\n"
    )
    assert not difference, message + "\n".join(difference)


@pytest.mark.parametrize(
    "line",
    [
        "class cxr_sklearn.ResNetOvO",
        "cxr_sklearn.ResNetOvO(keyword-only: lr = 0.001)",
        "cxr_sklearn.ResNetOvO.fit(positional or keyword: X)",
        "cxr_sklearn.quality.audit(keyword-only: n_jobs = None)",
        "cxr_sklearn.quality.Audit.findings",
    ],
)
def test_snapshot_contains_parameters_methods_and_attributes(line):
    assert line in SNAPSHOT.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(public_interface()) + "\n", encoding="utf-8")
