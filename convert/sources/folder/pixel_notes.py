"""What was special about the pixels of a conversion, as sentences with counts."""

from collections import Counter

from convert.sources.jpeg import ANEW
from convert.sources.turn_jpeg import can_turn
from loaders.formats.pixels.image_file import ALPHA, DEEP, FRAMES, MAX_PIXELS, REDUCED, TAGGED, PixelRules


def pixel_notes(facts: Counter[str], rules: PixelRules, background: str | None = None) -> list[str]:
    """Sentences on the images that had something special.

    Args:
        facts: number of images for which each fact of `Decoded` holds.
        rules: what became of their pixels.
        background: of these rules, as a person wrote it; None where there are no options on pixels, and so no rules but
            those of size.
    """
    notes = []

    def option(named: str) -> str:
        return "" if background is None else f" ({named})"

    if facts[TAGGED] and not rules.orient:
        turns = option("--orient turns them")
        notes.append(f"{_images(facts[TAGGED])} with an orientation tag: pixels are as stored{turns}")
    elif facts[TAGGED]:
        notes.append(f"{_images(facts[TAGGED])} with an orientation tag: turned as it asks")
    if facts[ANEW]:
        why = "the size is not a multiple of a JPEG block" if can_turn() else "libturbojpeg is not installed"
        notes.append(f"of these, {_images(facts[ANEW])} in JPEG had to be encoded anew, with loss: {why}")
    if facts[ALPHA]:
        done = "it is dropped" if background is None else f"composited on {background} (--background)"
        notes.append(f"{_images(facts[ALPHA])} with an alpha channel: {done}")
    if facts[DEEP]:
        by = "the range of their type" if rules.value_range is None else "{:g} to {:g}".format(*rules.value_range)
        by += option("--range LOW HIGH")
        notes.append(f"{_images(facts[DEEP])} of more than 8 bits: scaled to 8 bits by {by}")
    if facts[FRAMES]:
        notes.append(f"{_images(facts[FRAMES])} of several frames: the first is taken")
    if facts[REDUCED]:
        notes.append(f"{_images(facts[REDUCED])} of more than {MAX_PIXELS:,} pixels: reduced, JPEG while it is decoded")
    return notes


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
