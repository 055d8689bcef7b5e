"""Text of others, made inert: a terminal, a log or a widget can show it, and it can do nothing else.

A terminal obeys control sequences: they move the cursor, set the window's title, write the clipboard, answer in the
user's name. An answer of a model must not be able to do any of that.
"""

from __future__ import annotations

__all__ = ["inert_text"]


def inert_text(text: str) -> str:
    r"""Return `text` with every control character made visible; new lines and tabs stay.

    Carriage returns, which overwrite what stands on the line, are left out. Overrides of the writing direction, which
    make text read other than it is, and lone surrogates, which cannot be encoded, become U+FFFD. Each character is
    judged by itself, so a stream may be cut anywhere.

    Args:
        text: What a model, a tool or a server said.

    Example:
        >>> inert_text("\x1b]0;gotcha\x07 is\tnot a title\r\n")
        '␛]0;gotcha␇ is\tnot a title\n'
    """
    return text if text.isprintable() and text.isascii() else text.translate(_VISIBLE)


def _visible() -> dict[int, str]:
    pictures = {code: chr(0x2400 + code) for code in range(0x20)}
    replaced = (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
    marks = dict.fromkeys(replaced, "\ufffd")
    kept = {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): "", 0x7F: "\u2421"}
    return {**pictures, **marks, **kept}


_VISIBLE = _visible()
