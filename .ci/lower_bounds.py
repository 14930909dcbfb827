"""Print the oldest versions that pyproject.toml allows, as constraints for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
bounds = {}
for requirement in [*project["dependencies"], *extras["plot"], *extras["test"]]:
    match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
    if match is None:
        raise SystemExit(f"pyproject.toml: {requirement!r} is no 'name>=version'")
    name, version = match.groups()
    if bounds.setdefault(name, version) != version:
        raise SystemExit(f"pyproject.toml: {name} has two lower bounds")
for name, version in sorted(bounds.items()):
    print(f"{name}=={version}")
