"""One pass over all images, which encodes them, counts what is special about them and finds every broken file."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from convert.sources.folder.values import BrokenFile, FoundImages
from convert.sources.jpeg import encode_each
from convert.writers.streams import Stream
from loaders.formats.pixels.image_file import PixelRules


class BrokenImagesError(ValueError):
    """A pass has found files that cannot be used."""


class Pass:
    """A pass over the images of all splits.

    Attributes:
        broken: the files that cannot be used, as far as the pass has come.
        bad: their splits and places.
        facts: number of images for which each fact of `Decoded` holds.
    """

    def __init__(self, pool: ThreadPoolExecutor, ahead: int, found: FoundImages, quality: int, rules: PixelRules):
        self.broken: list[BrokenFile] = []
        self.bad: set[tuple[str, int]] = set()
        self.facts = Counter[str]()
        self._left = list(found.splits)
        self._encode: Callable[[str], Iterator[Stream | None]] = lambda split: (
            self._checked(split, i, result)
            for i, result in enumerate(encode_each(pool, ahead, found.splits[split], quality, rules))
        )

    def streams(self, split: str) -> Iterator[Stream]:
        """The images of one split.

        Raises:
            BrokenImagesError: after its last image, and after a look at all splits that are left, if one is broken.
        """
        self._left.remove(split)
        for stream in self._encode(split):
            if stream is not None:
                yield stream
        if self.broken:
            self.check()
            raise BrokenImagesError

    def check(self, on_image: Callable[[], None] = lambda: None) -> None:
        """Encode the images of all splits that are left, and keep none."""
        for split in self._left:
            for _ in self._encode(split):
                on_image()
        self._left.clear()

    def _checked(self, split: str, i: int, result: object) -> Stream | None:
        if isinstance(result, BrokenFile):
            self.broken.append(result)
            self.bad.add((split, i))
            return None
        stream, facts = result  # type: ignore[misc]
        self.facts.update(facts)
        return stream
