"""Lines as they go into the archive: a page's body read, and rendered for COPY, or only recognised.

Pure, and little to import, for processes that do nothing else (`archiver.worker_processes`).
"""

from archiver.sheets.copied import line_of, text_of, texts_of
from archiver.sheets.page import ReadPage, read_page, recognise_page
from archiver.sheets.sheet import Sheet, glanced, sheet_of, sheet_of_lines

__all__ = [
    "ReadPage",
    "Sheet",
    "glanced",
    "line_of",
    "read_page",
    "recognise_page",
    "sheet_of",
    "sheet_of_lines",
    "text_of",
    "texts_of",
]
