"""Text of others on a terminal: it may be read, and nothing else.

A terminal obeys control sequences: moving the cursor, setting the window's title, writing the
clipboard, answering in the user's name. An answer must not be able to do any of that.
"""

from __future__ import annotations


def neutralised(text: str) -> str:
    r"""`text` with every control character made visible; new lines and tabs stay.

    Carriage returns, which overwrite what stands there, are left out. Overrides of the writing
    direction, which make text read other than it is, become U+FFFD. Each character is judged by
    itself, so it does not matter how a stream was cut.

    >>> neutralised("\x1b]0;gotcha\x07 is\tnot a title\r\n")
    '␛]0;gotcha␇ is\tnot a title\n'
    """
    return text.translate(_VISIBLE)


def _visible() -> dict[int, str]:
    pictures = {code: chr(0x2400 + code) for code in range(0x20)}
    replaced = (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    marks = dict.fromkeys(replaced, "\ufffd")
    kept = {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): "", 0x7F: "\u2421"}
    return {**pictures, **marks, **kept}


_VISIBLE = _visible()
