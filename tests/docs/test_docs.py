"""Every command in README and docs/ runs, every TOML and Python block is true, every link leads somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run(page, tmp_path):
    """Run each line that begins with "$ mergepost", in order; "# exit N" after it names its exit code."""
    commands = [
        line.removeprefix("$ ")
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ mergepost")
    ]
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for line in commands:
        command, _, remark = line.partition("  # exit ")
        words = shlex.split(command)[1:]
        done = subprocess.run(
            [sys.executable, "-c", "from merge.cli import main; main()", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        assert done.returncode == int(remark or 0), f"{line}\n{done.stdout}\n{done.stderr}"


def test_the_readme_shows_the_make_commands_that_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"`make (\w+)`", (ROOT / "README.md").read_text("utf-8")))
    assert {"demo", "test", "lint", "bench"} <= named
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in named)


def test_the_python_of_the_readme_runs(tmp_path):
    [program] = blocks(ROOT / "README.md", "python")
    prepare = (
        "from merge.starter import make; from pathlib import Path; make(Path('club-news'), 'announcement')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prepare + program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(" 0")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_toml_is_toml(page):
    for block in blocks(page, "toml"):
        tomllib.loads(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target
