"""Check that dist/ holds one source distribution and one wheel, with the package and no more."""

import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

root = Path(__file__).parent.parent
(sdist,) = (root / "dist").glob("*.tar.gz")
(wheel,) = (root / "dist").glob("*.whl")

source = root / "src" / "cxr_sklearn"
expected = {f"cxr_sklearn/{p.relative_to(source).as_posix()}" for p in source.rglob("*.py")}
expected.add("cxr_sklearn/py.typed")
# The network of the lungs, and the licence file that names the sources of its masks.
weights = "cxr_sklearn/preprocessing/lung_fields"
expected |= {f"{weights}.safetensors", f"{weights}.LICENSE.txt"}
with zipfile.ZipFile(wheel) as archive:
    in_wheel = set(archive.namelist())
metadata = {name for name in in_wheel if PurePosixPath(name).parts[0].endswith(".dist-info")}
with tarfile.open(sdist) as archive:
    in_sdist = {name.partition("/")[2] for name in archive.getnames()}

problems = [
    *(f"wheel lacks {name}" for name in sorted(expected - in_wheel)),
    *(f"wheel has {name}" for name in sorted(in_wheel - expected - metadata)),
    *(f"sdist lacks src/{name}" for name in sorted(expected) if f"src/{name}" not in in_sdist),
    *(f"sdist has {name}" for name in sorted(in_sdist) if name.startswith(("tests", "docs"))),
]
if not any(name.endswith("/licenses/LICENSE") for name in metadata):
    problems.append("wheel lacks LICENSE")
if "LICENSE" not in in_sdist:
    problems.append("sdist lacks LICENSE")
if problems:
    sys.exit("\n".join(problems))
print(f"{wheel.name} and {sdist.name} hold the {len(expected)} files of the package, and LICENSE")
