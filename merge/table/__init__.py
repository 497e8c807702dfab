"""What does the list say?

source      which bytes, which kind of file
  encoding, structure, delimited         a text file: pandas' read_csv, and what it would drop
  archive, sheetxml, legacy, opendocument, shown, around, workbook
                                         a workbook: pandas and calamine, and what they leave out
  given                                  what a program hands over
heading     which row names the columns (words: what people call the one of the address)
reading     the rows as recipients (unseen: what a person should be told of)
"""

from merge.table.reading import Table, read_table
from merge.table.values import Columns, Layout, ListOptions

__all__ = ["Columns", "Layout", "ListOptions", "Table", "read_table"]
