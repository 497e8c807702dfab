"""What does the person read? Pure functions: facts in, lines of text out.

error       what is wrong, where, and what to do
check       what the check found
proposal    what a run would do
summary     what it came to
standing    where a campaign stands
returned    what came back
"""

from merge.screens.check import checked, checked_github, checked_json, refused
from merge.screens.error import excerpt, failure, findings
from merge.screens.proposal import pace, plan, would_send
from merge.screens.returned import question, returned, settled
from merge.screens.standing import rows_in_doubt, rows_in_trouble, status
from merge.screens.summary import rehearsed, sent

__all__ = [
    "checked",
    "checked_github",
    "checked_json",
    "excerpt",
    "failure",
    "findings",
    "pace",
    "plan",
    "question",
    "refused",
    "rehearsed",
    "returned",
    "rows_in_doubt",
    "rows_in_trouble",
    "sent",
    "settled",
    "status",
    "would_send",
]
