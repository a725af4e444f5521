"""What a file is, by its first bytes: an image of a format that is read, or why not."""

import re
import struct

from PIL import features

from loaders.formats.pixels.image_file import DAMAGED

HEAD_BYTES = 512
VERY_LARGE = "very large, which --max-side N or --max-pixels N allows"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IMAGE_SUFFIXES = _words(
    ".jpg .jpeg .jpe .jfif .png .apng .bmp .dib .webp .tif .tiff .gif .pbm .pgm .ppm .pnm .pfm .avif"
)
_RAW = _words(".3fr .arw .cr2 .cr3 .dng .erf .kdc .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .srw .x3f")
_NO_READER = _words(".heic .heif .hif .jxl .svg .svgz")
_NOT_READ = _words(".eps .ps .ai .pdf .psd .xcf .ico .icns .jp2 .j2k .jpx .tga .dds .exr .hdr .dcm .emf .wmf")
_POINTER = b"version https://git-lfs.github.com/spec/"
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of its second header, by version


def image_format(head: bytes) -> str:
    """Pillow's name of the format of an image that begins with these bytes; "" if it is of none that is read."""
    for start, format in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        *((start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ):
        if head.startswith(start):
            return format
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if re.match(rb"P[1-6](\s|#)|P[fF]\s+\d", head) and re.match(rb"P.(\s|#[^\n]*\n)*\d", head):
        return "PPM"
    if head[:2] == b"BM" and len(head) >= 18 and struct.unpack("<I", head[14:18])[0] in _BMP_HEADERS:
        return "BMP"
    return "AVIF" if b"avi" in _brands(head) else ""


def why_left_out(suffix: str, head: bytes) -> str:
    """Why a file is no image that is read, where nothing says that it should be one; "" if it is or should be.

    Args:
        suffix: of its name, in lower case, with its dot.
        head: its first `HEAD_BYTES`.
    """
    format = image_format(head)
    if suffix in _RAW:
        return f"{suffix}: a camera's raw data"
    if format == "AVIF" and not features.check("avif"):
        return f"{suffix}: this Pillow has no reader"
    if format or suffix in IMAGE_SUFFIXES:
        return ""
    if suffix in _NO_READER:
        return f"{suffix}: Pillow has no reader"
    if suffix in _NOT_READ:
        return f"{suffix}: not among the formats that are read"
    return suffix or "without a suffix"


def broken_kind(content: bytes, error: str = "") -> str:
    """What is wrong with a file that should be an image, in words that are the same for all files of a kind.

    Args:
        content: the file, or its first `HEAD_BYTES`.
        error: what the decoder said, where it is of a format that is read.
    """
    start = content[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not content:
        return "empty"
    if content.startswith(_POINTER):
        return "a git-lfs pointer in place of the image, which `git lfs pull` fetches"
    if image_format(content[:HEAD_BYTES]):
        what = error.removeprefix(DAMAGED)
        if what == error:
            return what
        return "cut short" if _is_cut(content) or "truncated" in what.lower() else f"damaged: {what}"
    if re.match(rb"<(!doctype html|html|head|body|\?xml|!--)", start, re.IGNORECASE):
        return "HTML and no image" if b"<svg" not in start else "SVG, for which Pillow has no reader"
    if start.startswith((b"%!PS", b"%PDF", b"\xc5\xd0\xd3\xc6")):
        return "PostScript or PDF, which is never opened"
    if b"hei" in _brands(content) or b"mif" in _brands(content):
        return "HEIC, for which Pillow has no reader"
    if not content.strip(b"\0"):
        return "zeros only"
    is_text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in content[:HEAD_BYTES])
    return "text and no image" if is_text else "of no image format that is read"


def _brands(head: bytes) -> bytes:
    """The brands that a file in ISO's base media format claims (AVIF and HEIC are such), one after the other."""
    if head[4:8] != b"ftyp":
        return b""
    return head[8 : min(struct.unpack(">I", head[:4])[0], HEAD_BYTES)]


def _is_cut(content: bytes) -> bool:
    """Whether the end of an image file is missing, where its format says what that is."""
    match image_format(content[:HEAD_BYTES]):
        case "JPEG":
            return b"\xff\xd9" not in content[-64:]
        case "PNG":
            return b"IEND" not in content[-64:]
        case "GIF":
            return b"\x3b" not in content[-64:]
        case "WEBP":
            return struct.unpack("<I", content[4:8])[0] + 8 > len(content)
        case "BMP":
            return struct.unpack("<I", content[2:6])[0] > len(content)
        case _:
            return False
