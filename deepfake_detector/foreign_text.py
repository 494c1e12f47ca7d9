"""Names, labels and messages that come from strangers, made harmless for the program that shows them.

Markdown has its own rules: evaluation.report. HTML is escaped by its template engine, pictures draw plain text.
"""

import re
import unicodedata

COMMANDING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode categories that terminals may obey instead of showing
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def terminal_text(text: str) -> str:
    """`text` on one line, with characters that could command a terminal as escapes, such as `\\x1b` and `\\n`."""
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in COMMANDING else c for c in text)


def terminal_lines(text: str) -> str:
    """`text` with its line breaks, each line as `terminal_text` gives it."""
    return "\n".join(map(terminal_text, text.split("\n")))


def spreadsheet_cell(value: object) -> object:
    """`value` for a CSV file that people open: a text that a spreadsheet would compute gets an apostrophe in front.

    Spreadsheets take a cell that starts with one of = + - @ for a formula, which may call out or start a program.
    Numbers stay as they are. A carriage return is written as an escape.
    """
    if not isinstance(value, str):
        return value
    if FORMULA.match(value) and not NUMBER.fullmatch(value):
        value = f"'{value}"
    # Python before 3.13 does not quote it, and a reader takes it for the end of a row.
    return value.replace("\r", "\\r")
