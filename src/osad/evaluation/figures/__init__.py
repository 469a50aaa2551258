"""Figures of the benchmark: what is wanted, its numbers, and how it is drawn.

`request` says what is wanted, `series` takes its numbers from the summary, `draw` draws them, and
`style` holds everything that figures share. Nothing here reads or writes files.
"""
