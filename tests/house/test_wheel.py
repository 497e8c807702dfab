"""The built package holds what it needs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_rooms_data_and_starter_letters(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [
        path for path in (ROOT / "merge").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {str(path.relative_to(ROOT)) for path in shipped} <= names
    letters = [path for path in (ROOT / "templates").rglob("*") if path.is_file()]
    assert letters
    assert {f"merge/templates/{path.relative_to(ROOT / 'templates')}" for path in letters} <= names
    assert not [name for name in names if name.split("/")[0] in ("tests", "examples", "bench", "docs")]
