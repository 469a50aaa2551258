"""Tables of the benchmark: one row a run, one row a table cell, and the papers' layouts.

`request` says what is wanted, `cells` and `summary` compute the rows, `controls` checks that
splits and scoring are sound, `layout` arranges the papers' tables, and `markdown`, `latex` and
`plain` write them. Nothing here reads or writes files.
"""
