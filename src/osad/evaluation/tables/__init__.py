"""Tables of the benchmark: one row a run, one row a table cell, and the papers' layouts.

`request` says what is known of the grid; `cells` and `summary` make, read and write the rows as
data frames; `layout` arranges the papers' tables, `footers` says what stands below them, `markup`
and `terminal` write them.
"""
