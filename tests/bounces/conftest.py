import sys
from pathlib import Path

# The real mail servers, and the campaigns of the tests from outside.
for folder in ("smtp", "whole"):
    path = str(Path(__file__).parents[1] / folder)
    if path not in sys.path:
        sys.path.append(path)
