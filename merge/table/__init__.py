"""What does the list say?"""

from merge.table.reading import Table, read_table
from merge.table.values import Columns, ListOptions

__all__ = ["Columns", "ListOptions", "Table", "read_table"]
