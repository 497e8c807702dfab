"""Run every benchmark, one after the other. Each prints its own figures, as ratios to a named baseline."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}", flush=True)
    failed = []
    for script in sorted(HERE.glob("[a-z]*.py")):
        if script == Path(__file__):
            continue
        print(f"\n== {script.stem}", flush=True)
        if subprocess.run([sys.executable, script], check=False).returncode:
            failed.append(script.name)
    if failed:
        sys.exit(f"did not finish: {', '.join(failed)}")


if __name__ == "__main__":
    main()
