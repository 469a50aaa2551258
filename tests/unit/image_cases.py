"""Image files written field by field, as no library would write them."""

import struct
import zlib

import numpy as np

SHORT, LONG = 3, 4


def tiff(
    values: np.ndarray,
    bits: int,
    *,
    photometric: int = 1,
    order: str = "<",
    samples: int = 1,
    **tags: tuple[int, ...],
) -> bytes:
    """Return an uncompressed TIFF; each row is packed, most significant bit first.

    Args:
        values: (height, width * samples) whole numbers.
        bits: of a sample.
        photometric: what a number means: 0 white is zero, 1 black is zero, 2 RGB, 3 palette.
        order: ``<`` or ``>``.
        samples: of a pixel.
        tags: further ones, as ``t338=(0,)``.
    """
    if bits in (16, 32):
        data = values.astype(f"{order}u{bits // 8}").tobytes()
    else:
        rows = ["".join(f"{number:0{bits}b}" for number in row) for row in values.astype(int)]
        rows = [row + "0" * (-len(row) % 8) for row in rows]
        data = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    height, width = len(values), values.shape[1] // samples
    fields: dict[int, tuple[int, tuple[int, ...]]] = {
        256: (SHORT, (width,)), 257: (SHORT, (height,)), 258: (SHORT, (bits,) * samples),
        259: (SHORT, (1,)), 262: (SHORT, (photometric,)), 273: (LONG, (0,)),
        277: (SHORT, (samples,)), 278: (SHORT, (height,)), 279: (LONG, (len(data),)),
    }  # fmt: skip
    fields |= {int(name[1:]): (SHORT, numbers) for name, numbers in tags.items()}
    start = 8 + 2 + 12 * len(fields) + 4
    entries, extra = b"", b""
    pixels_at = start + sum(
        len(numbers) * 2 for kind, numbers in fields.values() if len(numbers) > 2 // (kind - 2)
    )
    for tag, (kind, numbers) in sorted(fields.items()):
        numbers = (pixels_at,) if tag == 273 else numbers
        content = struct.pack(f"{order}{len(numbers)}{'HI'[kind - SHORT]}", *numbers)
        if len(content) > 4:
            place = struct.pack(f"{order}I", start + len(extra))
            extra += content
        else:
            place = content.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + place
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(f"{order}HIH", 42, 8, len(fields))
    return header + entries + bytes(4) + extra + data


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(rows: list[bytes], width: int, bits: int, colour: int = 0, **chunks: bytes) -> bytes:
    """Return a PNG of packed rows; ``colour`` is 0 grey, 2 RGB, 3 palette, 4 grey with alpha.

    ``chunks`` are further ones, as ``PLTE=...``.
    """
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    before = b"".join(chunk(kind.encode(), data) for kind, data in chunks.items())
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
