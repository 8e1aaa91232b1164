"""Image files that claim more pixels than they hold."""

import io
import re
import struct
import zlib

import numpy as np
import tifffile


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_claiming(width: int, height: int, zeros: int = 0, colours: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    pixels = zlib.compress(bytes(zeros), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff_claiming(width: int) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((16, 16), np.uint8))
    return re.sub(
        rb"(?s)\x00\x01[\x03\x04]\x00\x01\0\0\0....", struct.pack("<HHII", 256, 4, 1, width), file.getvalue(), count=1
    )
