"""A report on runs, as one HTML page, as text, as Markdown, or as JUnit XML.

Only `edge.report.page` needs the ``[report]`` extra, and loads it when a page is written.

May use: `edge.history`, `edge.validation`, `edge.artefact` and below.
Read first: gathering.py, then facts.py, then sections.py.
"""
