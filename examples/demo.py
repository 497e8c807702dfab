"""Send the newsletter example through the embedded server, and show what became of each row.

Run by `make demo`. Nothing leaves this machine: the server listens on loopback, the letters land in demo/.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOME = ROOT / "demo"


def main() -> None:
    """Copy the example, check it, write its preview, send it, and tell where everything lies."""
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(Path(__file__).parent / "newsletter", HOME)
    run("check", "demo")
    run("preview", "demo", "--out", "demo/preview.html", "--all-rows")
    run("send", "demo", "--sandbox")
    with (HOME / "sandbox" / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    say("\nWhat became of each row (demo/sandbox/results.csv):")
    for row in rows:
        say(f"  row {row['row']:>3}  {row['to']:32} {row['state']:10} {row['code']} {row['reply']}")
    say("\nThe letters:      demo/sandbox/*.eml   (open one with your mail program)")
    say("All on one page:  demo/preview.html    (open it in your browser)")


def run(*words: str) -> None:
    """Run one mergepost command as a person would type it, and show it; end the demo if it fails."""
    say(f"\n$ mergepost {' '.join(words)}")
    command = [sys.executable, "-c", "from merge.cli import main; main()", *words]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def say(words: str) -> None:
    """Print at once, so that the lines stand in the order in which things happen."""
    print(words, flush=True)


if __name__ == "__main__":
    main()
