"""The page of the results: static files that a browser shows without a server.

`curves`, `wrong` and `cell` compute what is shown of one table cell, `page` what is shown of all;
`scripts` writes data as scripts, because a page opened from a disk may read no other files. The
steps ``report_cell``, ``report_images`` and ``report_page`` read and write the files
(docs/report.md); `osad.pipeline.page` says which there are.
"""
