"""What has happened? One SQLite file per campaign that knows every row's state at every moment.

A row that is about to be accepted is `committing` on disk *before* the write that may get it
accepted; what is still `committing` when the next run starts is `uncertain`. `sent` is final: a
trigger of the database itself refuses to take it back. Everything else is told in docs/promise.md.
"""

from merge.journal.bounced import Bounce, Bounces, Sent
from merge.journal.enrolment import Enrolment, Plan
from merge.journal.ledger import Ledger
from merge.journal.mailed import Mailed
from merge.journal.register import Holder, Listed, Register
from merge.journal.view import Meta, Standing, View
from merge.journal.writing import Journal

__all__ = [
    "Bounce",
    "Bounces",
    "Enrolment",
    "Holder",
    "Journal",
    "Ledger",
    "Listed",
    "Mailed",
    "Meta",
    "Plan",
    "Register",
    "Sent",
    "Standing",
    "View",
]
