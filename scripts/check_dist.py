"""Build the sdist and the wheel and compare what is in them with what is in the checkout.

The wheel holds the package and nothing else; the sdist holds what is needed to test and
document it as well. The wheel is then installed, alone, into a fresh environment and imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
SDIST_FOLDERS = ("benchmarks", "docs", "examples", "ppnext", "scripts", "tests")
SDIST_FILES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
    "setup.py",
)
GENERATED = ("__pycache__", "_build")


def main() -> int:
    """Build, compare, install, import.

    Returns:
        0 when all is well, 1 with the differences printed otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="ppnext-dist-") as name:
        folder = Path(name)
        build(folder)
        sdist, wheel = one(folder, "*.tar.gz"), one(folder, "*.whl")
        complaints = check_sdist(sdist) + check_wheel(wheel)
        complaints += check_import(wheel, folder / "env")
    for complaint in complaints:
        print(f"check_dist: {complaint}")
    if not complaints:
        print(f"check_dist: {sdist.name} and {wheel.name} are complete, and the wheel imports")
    return 1 if complaints else 0


def build(folder: Path) -> None:
    """Build both distributions into ``folder``; the wheel is built from the sdist."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{result.stdout}\ncheck_dist: python -m build failed, see above")


def one(folder: Path, pattern: str) -> Path:
    """Return the only file in ``folder`` that matches ``pattern``."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"check_dist: the build made {len(found)} files {pattern}, not one")
    return found[0]


def files_under(*folders: str) -> set[str]:
    """Return the checkout's files in ``folders``, relative to its root, without generated ones."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and not set(GENERATED) & set(path.relative_to(ROOT).parts)
        and path.suffix not in {".pyc", ".pyo"}
    }


def check_sdist(sdist: Path) -> list[str]:
    """Return what the sdist lacks."""
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    expected = files_under(*SDIST_FOLDERS) | set(SDIST_FILES)
    return [f"the sdist lacks {name}" for name in sorted(expected - inside)]


def check_wheel(wheel: Path) -> list[str]:
    """Return what the wheel lacks and what it should not have."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        entry_points = "".join(
            archive.read(name).decode() for name in inside if name.endswith("/entry_points.txt")
        )
    info = {name for name in inside if name.partition("/")[0].endswith(".dist-info")}
    expected = files_under("ppnext")
    complaints = [f"the wheel lacks {name}" for name in sorted(expected - inside)]
    complaints += [f"the wheel has {name}" for name in sorted(inside - info - expected)]
    if "ppnext/py.typed" not in inside:
        complaints.append("the wheel lacks ppnext/py.typed")
    if not any(name.endswith("/LICENSE") for name in info):
        complaints.append("the wheel lacks LICENSE")
    if "ppserver = ppnext.server.cli:main" not in entry_points:
        complaints.append("the wheel lacks the command ppserver")
    return complaints


def check_import(wheel: Path, env: Path) -> list[str]:
    """Install ``wheel`` alone into a fresh environment and import it; return what went wrong."""
    venv.create(env, with_pip=True)
    python = env / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    for arguments in (
        [*install, "--no-index", str(wheel)],
        # Isolated, so that the checkout cannot stand in for what the wheel lacks.
        ["-I", "-c", "import ppnext; ppnext.__file__ or exit('ppnext has no __init__.py')"],
    ):
        result = subprocess.run(
            [str(python), *arguments],
            cwd=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode != 0:
            return [f"in a fresh environment, python {' '.join(arguments)}:\n{result.stdout}"]
    return []


if __name__ == "__main__":
    raise SystemExit(main())
