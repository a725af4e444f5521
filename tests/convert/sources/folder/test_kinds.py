"""What a file is, by its content."""

import pytest

from convert.sources.folder.kinds import broken_kind, image_format


def test_every_format_counts_whatever_its_suffix(tree, find, image_files):
    names = {
        "a.jfif": "JPEG",
        "b.jpe": "JPEG",
        "c": "PNG",
        "d.pgm": "PPM",
        "e.ppm": "PPM",
        "f.avif": "AVIF",
        "g.webp": "WEBP",
        "h.tif": "TIFF",
        "i.bmp": "BMP",
        "j.gif": "GIF",
        "k.jpg": "PNG",
        "l.dat": "JPEG",
        "m.JPG": "JPEG",
    }
    found, splits = find(tree({f"x/{name}": format for name, format in names.items()}))
    assert [name for name, _ in splits["train"]] == [f"x/{name}" for name in sorted(names)]
    assert not found.left_out
    assert "images by their content, whatever their suffix: 1 .dat, 1 without one" in found.notes
    assert all(image_format(content[:512]) == format for format, content in image_files.items())


def test_what_is_no_image_is_counted_with_its_reason(tree, find):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    files = {"a.heic": heic, "b.svg": b"<svg/>", "c.eps": b"%!PS-Adobe", "d.txt": b"P3 results: BMW", "e": b"hello"}
    files |= {"f.dng": "TIFF", "g.bmw": b"BMW is no bitmap, whatever its first two letters say.", "h.json": b"{}"}
    found, splits = find(tree({f"x/{name}": content for name, content in files.items()} | {"x/1.jpg": "JPEG"}))
    assert splits == {"train": [("x/1.jpg", 0)]}
    assert found.broken == ()
    assert found.left_out == {
        ".heic: Pillow has no reader": 1,
        ".svg: Pillow has no reader": 1,
        ".eps: not among the formats that are read": 1,
        ".dng: a camera's raw data": 1,
        ".txt": 1,
        ".bmw": 1,
        ".json": 1,
        "without a suffix": 1,
    }


BROKEN = {
    "empty": b"",
    "HTML and no image": b"\n<!DOCTYPE html><html><title>404</title></html>",
    "a git-lfs pointer in place of the image, which `git lfs pull` fetches": b"version https://git-lfs.github.com/spec/v1",
    "PostScript or PDF, which is never opened": b"%!PS-Adobe-3.0 EPSF-3.0",
    "HEIC, for which Pillow has no reader": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "zeros only": bytes(100),
    "text and no image": b"Access denied",
    "of no image format that is read": b"\x80\x02\x03 rubbish",
}


def test_broken_files_are_told_by_name_and_kind(tree, find):
    files = {f"x/{i}.jpg": content for i, content in enumerate(BROKEN.values())}
    found, splits = find(tree(files | {"x/good.jpg": "JPEG"}))
    assert list(found.broken) == [(f"x/{i}.jpg", kind) for i, kind in enumerate(BROKEN)]
    assert splits == {"train": [("x/good.jpg", 0)]}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_what_is_cut_short(image_files, format):
    content = image_files[format]
    said = "it is not a whole image: cannot decode"
    assert broken_kind(content[: len(content) // 2], said) == "cut short"
    assert broken_kind(content, said) == "damaged: cannot decode"
    assert broken_kind(content, "its values go from 0 to 9") == "its values go from 0 to 9"
