"""What does the letter say? Its source becomes, for each row, header lines and a body.

Jinja2 stands in this wing alone.
"""

from merge.template.letter import HeaderLine, Kind, Rendered, Template, choose, read_template

__all__ = ["HeaderLine", "Kind", "Rendered", "Template", "choose", "read_template"]
