"""A contact sheet: a few images of each class with their ids, so that a person sees what a data set holds."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from loaders.formats.atomic import atomic_path
from loaders.formats.dataset import DatasetFile

CLASSES, COLUMNS = 20, 10
"""Rows at most, and images in a row."""
_CELL, _CAPTION, _LEFT, _TOP, _GAP = 96, 16, 170, 34, 6  # pixels
_INK, _FAINT, _FRAME, _PAPER = (20, 20, 20), (110, 110, 110), (215, 215, 215), (255, 255, 255)


def shown_ids(labels_N: np.ndarray, num_classes: int) -> dict[int, np.ndarray]:
    """The ids that a sheet shows, by class, each evenly spread; where there are many classes, of some of them."""
    rows = np.unique(np.linspace(0, num_classes - 1, min(CLASSES, num_classes)).round().astype(int))
    shown = {}
    for label in rows.tolist():
        ids = np.flatnonzero(labels_N == label)
        shown[label] = ids[np.unique(np.linspace(0, len(ids) - 1, COLUMNS).round().astype(int))] if len(ids) else ids
    return shown


def draw_sheet(path: Path, dataset: DatasetFile, classes: tuple[str, ...], title: str) -> None:
    """Draw a sheet as PNG: a row for each class, its images at their own shape, small ones enlarged, ids below them.

    Raises:
        ValueError: an image cannot be decoded.
        OSError: the file cannot be written.
    """
    shown = shown_ids(dataset.labels, len(classes))
    height = _CELL + _CAPTION + _GAP
    sheet = Image.new("RGB", (_LEFT + COLUMNS * (_CELL + _GAP) + _GAP, _TOP + len(shown) * height + _GAP), _PAPER)
    draw, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(16), ImageFont.load_default(11)
    part = "" if len(shown) == len(classes) else f", {len(shown)} of its {len(classes)} classes"
    draw.text((_GAP, _GAP), f"{title}: {dataset.num_samples:,} images{part}", _INK, large)
    counts = np.bincount(dataset.labels, minlength=len(classes))
    for row, (label, ids) in enumerate(shown.items()):
        top = _TOP + row * height
        draw.text((_GAP, top + _CELL // 2 - 16), _fitting(draw, classes[label], large), _INK, large)
        draw.text((_GAP, top + _CELL // 2 + 6), f"label {label}, {counts[label]:,} images", _FAINT, small)
        for column, sample in enumerate(ids.tolist()):
            left = _LEFT + column * (_CELL + _GAP)
            image = _thumbnail(dataset[sample][0])
            upper = top + _CELL - image.height
            draw.rectangle((left - 1, upper - 1, left + image.width, upper + image.height), outline=_FRAME)
            sheet.paste(image, (left, upper))
            draw.text((left, top + _CELL + 1), f"{sample}", _FAINT, small)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG")


def _thumbnail(image_HWC: np.ndarray) -> Image.Image:
    """The image in a cell: small ones by whole factors, so that their pixels stay what they are."""
    image = Image.fromarray(image_HWC.squeeze(2) if image_HWC.shape[2] == 1 else image_HWC)
    factor = _CELL / max(image.size)
    width, height = (max(1, round(length * (factor if factor < 1 else int(factor)))) for length in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX)


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The text, cut where it is wider than the column of names."""
    while len(text) > 4 and draw.textlength(text, font) > _LEFT - 2 * _GAP:
        text = text[: -4 if text.endswith("...") else -1].rstrip() + "..."
    return text
