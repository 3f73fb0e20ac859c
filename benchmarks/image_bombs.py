"""Images of few bytes that cost much to decode, in base64, and large ones that are harmless."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

SIDE_ACROSS, SIDE_DOWN = 5000, 4000  # the most pixels that are read


def bombs() -> Iterator[tuple[str, str]]:
    """Images of few bytes and many pixels, in base64."""
    size = (SIDE_ACROSS, SIDE_DOWN)
    for mode in ("RGB", "RGBA", "P", "LA", "I;16", "1"):
        yield f"PNG of 20 million pixels, {mode}", _encoded(Image.new(mode, size), "PNG")
    palette = Image.new("P", size)
    palette.info["transparency"] = 0
    yield "PNG of 20 million pixels, transparent palette", _encoded(palette, "PNG", transparency=0)
    yield "JPEG of 20 million pixels", _encoded(Image.new("RGB", size), "JPEG")
    yield (
        "progressive JPEG of 20 million pixels",
        _encoded(Image.new("RGB", size), "JPEG", progressive=True, subsampling=0),
    )
    yield "CMYK JPEG of 20 million pixels", _encoded(Image.new("CMYK", size), "JPEG")
    yield "WebP of 20 million pixels", _encoded(Image.new("RGB", size), "WEBP", method=0)
    yield (
        "WebP of 20 million pixels, lossless, RGBA",
        _encoded(Image.new("RGBA", size), "WEBP", lossless=True, method=0),
    )
    yield "PNG, as large as is decoded, RGB", _encoded(Image.new("RGB", (3870, 3870)), "PNG")
    yield "PNG, as large as is decoded, RGBA", _encoded(Image.new("RGBA", (3870, 3870)), "PNG")
    yield (
        "progressive JPEG, as large as is decoded",
        _encoded(Image.new("RGB", (3160, 3160)), "JPEG", progressive=True, subsampling=0),
    )
    yield "WebP, as large as is decoded", _encoded(Image.new("RGBA", (1870, 1870)), "WEBP", lossless=True, method=0)
    frames = [Image.new("RGB", (2000, 2000), (number, 0, 0)) for number in range(20)]
    yield "WebP of 20 frames", _encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], method=0)
    yield "PNG that says 40,000 by 40,000", base64.b64encode(_png_head(40_000, 40_000)).decode()
    yield "PNG with 60 MB of text in 60 kB", base64.b64encode(_png_with_texts()).decode()


def photo(across: int, down: int) -> str:
    """A JPEG of noise, in base64."""
    return _encoded(Image.effect_noise((across, down), 40).convert("RGB"), "JPEG")


def noise() -> str:
    """A PNG of noise of 4 MB: large, and as good as any."""
    return _encoded(Image.effect_noise((1700, 1700), 90), "PNG")


def _png_head(across: int, down: int) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", across, down, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


def _png_with_texts() -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    texts = b"".join(_chunk(b"zTXt", b"k%d\0\0" % number + zlib.compress(bytes(1_000_000))) for number in range(60))
    return b"\x89PNG\r\n\x1a\n" + head + texts + _chunk(b"IDAT", zlib.compress(bytes(72))) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _encoded(image: Image.Image, file_format: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return base64.b64encode(buffer.getvalue()).decode()
