"""How does a command end? Its console, and whatever it raises as a screen and an exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from merge.errors import CarrierError, MergeError

if TYPE_CHECKING:
    from merge.console import Console

ON_RECORD = "What was sent is on record: mergepost status"

_UNEXPECTED = 70


@contextmanager
def screen(*, quiet: bool, no_color: bool, paths: Sequence[Path] | None = None) -> Iterator[Console]:
    """Give a command its console, and turn whatever it raises into a screen and an exit code.

    `paths` are those of the campaign: commands that are proposed name them, too.
    """
    from merge.clock import WallClock  # noqa: PLC0415 - keeps --help quick
    from merge.console import Console  # noqa: PLC0415 - likewise
    from merge.interrupt import StoppedNow  # noqa: PLC0415 - likewise

    elsewhere = paths and [path.resolve() for path in paths] != [Path.cwd()]
    place = shlex.join(map(str, paths)) if paths and elsewhere else ""
    console = Console(WallClock(), quiet=quiet, no_color=no_color, place=place)
    try:
        yield console
    except MergeError as error:
        console.error(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        console.insist(["", f"Stopped. {console.standing}"])
        raise typer.Exit(128 + signal.SIGINT) from None
    except StoppedNow as stopped:
        console.insist(["", "Stopped at once. What was in flight is uncertain: mergepost status"])
        raise typer.Exit(stopped.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if os.environ.get("MERGEPOST_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.filename:
            console.error(CarrierError(f"{error.filename}: {error.strerror}"))
            raise typer.Exit(CarrierError.exit_code) from None
        console.insist(
            [
                f"error: mergepost has a fault: {type(error).__name__}",
                f"  {ON_RECORD}",
                "  To report it, run again with MERGEPOST_TRACEBACK=1; remove private data from the output.",
            ]
        )
        raise typer.Exit(_UNEXPECTED) from None
