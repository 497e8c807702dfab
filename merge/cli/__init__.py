"""What was typed? Parse, call one function, print, exit code.

commands    which commands there are
options     what several of them ask in the same words
screen      how each of them ends: its console, its errors, its exit code
before      init, check, preview, test
sending     send, status
server      doctor
after       bounces
"""

from merge.cli.commands import app, main

__all__ = ["app", "main"]
