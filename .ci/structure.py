"""Measure how the code is built: sizes, density, complexity, and imports between packages.

Usage: ``python .ci/structure.py [folder of the package]``. It needs ruff for the complexity.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def body_length(function: ast.AST) -> int:
    """Return the lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def comment_lines(text: str) -> int:
    """Return the number of comments."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def imported_modules(path: Path, package: Path, tree: ast.Module) -> set[str]:
    """Return the modules of the package that a module imports, at whatever place."""
    own = path.relative_to(package.parent).with_suffix("").parts
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = own[: len(own) - node.level] if path.stem != "__init__" else own[: -node.level]
            if path.stem == "__init__":
                base = own[:-1][: len(own) - node.level]
            parts = (*base, *(node.module.split(".") if node.module else ()))
        else:
            parts = tuple((node.module or "").split("."))
        if parts[:1] != own[:1]:
            continue
        for alias in node.names:
            target = package.parent.joinpath(*parts, alias.name)
            is_module = target.with_suffix(".py").is_file() or target.is_dir()
            found.add(".".join((*parts, alias.name) if is_module else parts))
    return found


def room(module: str) -> str:
    """Return the package, or the module at the top level, that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other."""

    def reachable(start: str) -> set[str]:
        seen, rest = set(), [start]
        while rest:
            for target in arrows.get(rest.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    rest.append(target)
        return seen

    reach = {node: reachable(node) for node in arrows}
    groups = {
        tuple(sorted({node, *(n for n in reach[node] if node in reach.get(n, ()))}))
        for node in arrows
        if node in reach[node]
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def too_complex(folder: Path) -> dict[str, int]:
    """Return how many functions ruff finds too complex, or with too many branches."""
    command = ["ruff", "check", "--isolated", "--exit-zero", "--ignore-noqa"]
    command += ["--select", "C901,PLR0912", "--output-format", "json", str(folder)]
    ruff = Path(sys.executable).parent / "ruff"
    if ruff.is_file():
        command[0] = str(ruff)
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {code: sum(f["code"] == code for f in found) for code in ("C901", "PLR0912")}


def main() -> None:
    """Print the measures."""
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src" / "cxr_sklearn"
    sizes: dict[str, int] = {}
    lengths: dict[str, int] = {}
    modules: dict[str, set[str]] = {}
    n_lines = n_code = n_comprehensions = n_ternaries = n_comments = 0
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        name = path.relative_to(package).as_posix()
        sizes[name] = len(text.splitlines())
        n_lines += sizes[name]
        n_code += sum(bool(line.strip()) for line in text.splitlines())
        n_comments += comment_lines(text)
        for node in ast.walk(tree):
            n_comprehensions += isinstance(node, COMPREHENSIONS)
            n_ternaries += isinstance(node, ast.IfExp)
            if isinstance(node, FUNCTIONS):
                lengths[f"{name}:{node.name}"] = body_length(node)
        dotted = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        modules[dotted.removesuffix(".__init__")] = imported_modules(path, package, tree)
    rooms: dict[str, set[str]] = {}
    for module, targets in modules.items():
        here = room(module)
        rooms.setdefault(here, set()).update(room(t) for t in targets if room(t) != here)
    longest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    print(f"modules: {len(sizes)}, lines: {n_lines}, longest: {longest}")
    print(f"modules of more than 400 lines: {sum(size > 400 for size in sizes.values())}")
    mean = sum(lengths.values()) / len(lengths)
    longest = sorted(lengths.items(), key=lambda item: -item[1])[:5]
    print(f"functions: {len(lengths)}, mean length: {mean:.1f} lines, longest: {longest}")
    print(f"functions of more than 40 lines: {sum(length > 40 for length in lengths.values())}")
    print(f"too complex (C901 > 10, PLR0912 > 12): {too_complex(package)}")
    for what, n in (
        ("comprehensions", n_comprehensions),
        ("ternaries", n_ternaries),
        ("comments", n_comments),
    ):
        print(f"{what} per 100 lines: {100 * n / n_code:.1f}")
    print(f"packages: {len(rooms)}, arrows between them: {sum(map(len, rooms.values()))}")
    print(f"circles between packages: {circles(rooms)}")
    print(f"circles between modules: {circles(modules)}")


if __name__ == "__main__":
    main()
