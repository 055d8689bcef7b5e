"""Images from files, Pillow and arrays; constructors of parts check their types."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rxllm import AudioPart, ConfigurationError, DocumentPart, ImagePart, Message, TextPart, ToolCall, ToolResult


def pixels(part: ImagePart) -> Image.Image:
    assert part.data is not None
    return Image.open(io.BytesIO(part.data))


@pytest.mark.parametrize(
    ("array", "media_type", "mode"),
    [
        (np.full((4, 6, 3), 200, dtype=np.uint8), "image/jpeg", "RGB"),
        (np.full((4, 6, 3), 200, dtype=np.uint8)[..., ::-1], "image/jpeg", "RGB"),
        (np.full((4, 6), 200, dtype=np.uint8), "image/jpeg", "L"),
        (np.full((4, 6, 1), 200, dtype=np.uint8), "image/jpeg", "L"),
        (np.full((4, 6, 4), 200 / 255), "image/png", "RGBA"),
        (np.full((4, 6, 3), 200 / 255, dtype=np.float32), "image/jpeg", "RGB"),
    ],
)
def test_an_array_is_encoded(array: object, media_type: str, mode: str) -> None:
    """Really: it can be decoded, to the same size and colour."""
    part = ImagePart.from_array(array)
    image = pixels(part)
    assert (part.media_type, image.size, image.mode) == (media_type, (6, 4), mode)
    first: Any = image.getpixel((0, 0))
    assert abs((first if isinstance(first, int) else first[0]) - 200) <= 2


@pytest.mark.parametrize("array", [[1, 2], np.zeros((2, 2), dtype=np.int32), np.zeros((2, 2, 5)), np.zeros(3), None])
def test_an_array_that_is_no_image(array: object) -> None:
    """Says what an image is."""
    with pytest.raises(ValueError, match="an image array"):
        ImagePart.from_array(array)


def test_pillow_images() -> None:
    """In the form that fits, or the one that is asked for."""
    image = Image.new("RGBA", (3, 2), (10, 20, 30, 40))
    assert ImagePart.from_pil(image).media_type == "image/png"
    assert ImagePart.from_pil(image.convert("RGB"), format="webp", detail="low").media_type == "image/webp"
    with pytest.raises(ValueError, match="RGBA cannot be written as JPEG"):
        ImagePart.from_pil(image, format="jpeg")


def test_files(tmp_path: Path) -> None:
    """Their bytes say the type, then their name."""
    path = tmp_path / "photo.txt"
    Image.new("RGB", (3, 2)).save(path, "PNG")
    assert ImagePart.from_file(path) == ImagePart(data=path.read_bytes(), media_type="image/png")
    notes = tmp_path / "notes.txt"
    notes.write_text("text")
    assert DocumentPart.from_file(notes) == DocumentPart(data=b"text", media_type="text/plain", name="notes.txt")
    with pytest.raises(ValueError, match="is not an image of a known type"):
        ImagePart.from_file(notes)
    sound = tmp_path / "sound.mp3"
    sound.write_bytes(b"ID3")
    assert AudioPart.from_file(sound) == AudioPart(data=b"ID3", media_type="audio/mpeg")
    sound.write_bytes(b"RIFF\x04\0\0\0WAVE")
    assert AudioPart.from_file(sound).media_type == "audio/wav"
    with pytest.raises(ValueError, match="is not a sound of a known type"):
        AudioPart.from_file(notes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ImagePart(data=np.zeros(3), media_type="image/jpeg"), "from_array"),  # type: ignore[arg-type]
        (lambda: ImagePart(url=Path("a.png")), r"\(url=\.\.\.\) takes str or None; got a value of type .*Path"),  # type: ignore[arg-type]
        (lambda: Message.user(3), "a value of type int"),  # type: ignore[arg-type]
        (lambda: Message.user("a", None), "a value of type NoneType"),  # type: ignore[arg-type]
        (lambda: Message.tool("done"), "a value of type str"),  # type: ignore[arg-type]
        (lambda: ImagePart(url="a", detail="ultra"), "is one of 'auto', 'low', 'high', 'original', None"),  # type: ignore[arg-type]
        (lambda: Message("bot", ()), "is one of 'system', 'user'"),  # type: ignore[arg-type]
        (lambda: Message("user", [TextPart("a")]), "takes tuple"),  # type: ignore[arg-type]
        (lambda: TextPart(None), r"text=\.\.\.\) takes str"),  # type: ignore[arg-type]
        (lambda: ToolCall("1", "add", "{}"), r"arguments=\.\.\.\) takes dict"),  # type: ignore[arg-type]
        (lambda: ToolResult("1", {"a": 1}), r"content=\.\.\.\) takes str"),  # type: ignore[arg-type]
        (lambda: ToolResult("1", "a", media=(TextPart("b"),)), "a value of type TextPart"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_type_is_named_where_it_is_given(make: Callable[[], object], said: str) -> None:
    """Not in the thread that encodes the request."""
    with pytest.raises(ConfigurationError, match=said):
        make()
