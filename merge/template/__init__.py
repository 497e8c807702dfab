"""What does the letter say? Its source becomes, for each row, header lines and a body.

Jinja2 stands in this wing alone.
"""

from merge.template.letter import Choice, Head, HeaderLine, Kind, Rendered, Slotted, Template, choose
from merge.template.reading import read_template
from merge.template.source import CLOSE, OPEN

__all__ = [
    "CLOSE",
    "OPEN",
    "Choice",
    "Head",
    "HeaderLine",
    "Kind",
    "Rendered",
    "Slotted",
    "Template",
    "choose",
    "read_template",
]
