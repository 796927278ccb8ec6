"""Names and labels that others chose in; the same as a terminal or a spreadsheet may have them, and back, out."""

from __future__ import annotations

import re

# What terminals obey or cannot show: control characters, those that turn the direction of text, lone surrogates.
OBEYED = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SURROGATES = re.compile("[\ud800-\udfff]")
BYTES = re.compile(r"\\x([89a-f][0-9a-f])")
# What spreadsheets take for a formula, with the apostrophes before it.
FORMULA = re.compile("'*[=+\\-@\t\r\n]")


def plain(text: str, keep: str = "") -> str:
    """Spell what a terminal would obey by its code.

    Examples
    --------
    >>> print(plain("\\x1b[31mred\\nwarning: none"))
    \\x1b[31mred\\nwarning: none
    """
    return OBEYED.sub(lambda found: found[0] if found[0] in keep else code(found[0]), text)


def counted(count: int, noun: str) -> str:
    """Spell how many there are.

    Examples
    --------
    >>> counted(1, "group"), counted(2000, "image")
    ('1 group', '2,000 images')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def code(character: str) -> str:
    """Spell one character: a byte of a file's name that is not UTF-8, as Python reads it, by that byte."""
    number = ord(character)
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else repr(character)[1:-1]


def spelt(text: str) -> str:
    """Spell the bytes of a file's name that are not UTF-8, so that it can stand in any file.

    Examples
    --------
    >>> print(spelt("caf\\udce9.jpg"))
    caf\\xe9.jpg
    """
    return SURROGATES.sub(lambda found: code(found[0]), text)


def meant(text: str) -> str:
    """Return the file's name that was spelt so.

    Examples
    --------
    >>> meant(spelt("caf\\udce9.jpg")) == "caf\\udce9.jpg"
    True
    """
    return BYTES.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def cell(value: object) -> object:
    """Return what a CSV holds of a value: text that a spreadsheet would run gets an apostrophe in front.

    Examples
    --------
    >>> cell("=cmd()"), cell("-1.5"), cell(-1.5)
    ("'=cmd()", '-1.5', -1.5)
    """
    if not isinstance(value, str):
        return value
    return f"'{spelt(value)}" if FORMULA.match(value) and not is_number(value) else spelt(value)


def uncell(text: str) -> str:
    """Return what a cell of a CSV stands for.

    Examples
    --------
    >>> uncell("'=cmd()"), uncell("'tis")
    ('=cmd()', "'tis")
    """
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
