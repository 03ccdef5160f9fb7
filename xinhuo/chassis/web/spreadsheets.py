"""Texts in files that spreadsheets open."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula, also after it was saved as CSV, in whatever line of it."""
    return "\n".join("'" + line if line.lstrip(" \xa0").startswith(_FORMULA) else line for line in text.split("\n"))
