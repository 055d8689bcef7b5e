"""Read and encode images and documents for message parts. Pillow is imported only when pixels are encoded."""

from __future__ import annotations

import io
import mimetypes
import os
from pathlib import Path
from typing import Protocol, TypedDict, cast

from ._lazy_imports import needed

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
    (b"fLaC", "audio/flac"),
)
"""The first bytes of a file identify its type; its name may be wrong."""


class Media(TypedDict):
    """The bytes of a file and their type."""

    data: bytes
    media_type: str


class PILImage(Protocol):
    """What is used of `PIL.Image.Image`."""

    @property
    def mode(self) -> str:
        """The form of its pixels: "RGB", "L", "RGBA" ..."""
        ...

    def save(self, fp: io.BytesIO, format: str, *, quality: int) -> None:  # noqa: A002
        """Write the image."""
        ...


def media_of_file(path: str | os.PathLike[str], kind: str) -> Media:
    """Return the content of a file with its type; raise ValueError if it is not of the kind ("image", "audio")."""
    data = Path(path).read_bytes()
    media_type = next((name for start, name in _SIGNATURES if data.startswith(start)), None)
    if data[:4] == b"RIFF":
        media_type = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12])
    media_type = media_type or mimetypes.guess_type(path)[0]
    if media_type is None or not media_type.startswith(kind):
        wanted = {"image": "an image", "audio": "a sound"}.get(kind, "a file")
        raise ValueError(f"{os.fspath(path)!r} is not {wanted} of a known type; give data= and media_type=")
    return {"data": data, "media_type": media_type}


def image_of_array(array: object) -> PILImage:
    """Return the pixels of a numpy array as an image of Pillow."""
    shape: tuple[int, ...] = getattr(array, "shape", ())
    kind = str(getattr(array, "dtype", ""))
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ValueError(f"an image array has the shape (height, width[, 1, 3 or 4]); got {shape or array!r}")
    if len(shape) == 3 and shape[2] == 1:
        array = array[:, :, 0]  # type: ignore[index]  # numpy's
    if kind.startswith("float"):
        array = (array.clip(0, 1) * 255).round().astype("uint8")  # type: ignore[attr-defined]  # numpy's
    elif kind == "bool":
        array = array.astype("uint8") * 255  # type: ignore[attr-defined]  # numpy's
    elif kind != "uint8":
        raise ValueError(f"an image array is of uint8, or of floats from 0 to 1; got {kind}")
    return cast("PILImage", needed("PIL.Image", "encoding pixels", "pillow").fromarray(array))


def encoded_image(image: PILImage, format: str | None, quality: int) -> Media:  # noqa: A002
    """Return an image of Pillow as the bytes of a file."""
    chosen = (format or ("JPEG" if image.mode in ("RGB", "L", "CMYK") else "PNG")).upper()
    written = io.BytesIO()
    try:
        image.save(written, chosen, quality=quality)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"an image of the mode {image.mode} cannot be written as {chosen}: {error}") from error
    return {"data": written.getvalue(), "media_type": f"image/{chosen.lower()}"}
