"""Encodes the images that were found and has them written, or only looks whether that would go well."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from convert.sources.folder.classes import check_classes
from convert.sources.folder.encoding import BrokenImagesError, Pass
from convert.sources.folder.inventory import files, print_broken, refusal
from convert.sources.folder.kinds import VERY_LARGE
from convert.sources.folder.names import SPLIT_NAMES
from convert.sources.folder.pixel_notes import pixel_notes
from convert.sources.folder.records import record
from convert.sources.folder.values import BrokenFile, FoundImages
from convert.sources.jpeg import encoders
from convert.sources.part import Part, listing_digest, slice_part
from convert.sources.restart_rows import NOTE
from convert.terminal import progress_bar
from convert.writers.dataset import write_jpeg_dataset
from convert.writers.part_file import PartStamp
from loaders.formats.manifest import Manifest
from loaders.formats.pixels.image_file import PixelRules


@dataclass(frozen=True)
class Conversion:
    """How images are converted.

    Attributes:
        rules: what becomes of their pixels.
        background: the colour in `rules`, as a person wrote it.
        quality: of the JPEG images that are made anew.
        workers: threads; 0 takes all cores.
        skip_broken: whether files that cannot be used are left out.
        allow_empty: whether classes may have no image in train.
        console: where all is told.
        part: which part of a data set is converted; None is all of it.
    """

    rules: PixelRules
    background: str
    quality: int
    workers: int
    skip_broken: bool
    allow_empty: bool
    console: Console
    part: PartStamp | None = None

    def of_part(self, found: FoundImages, part: Part) -> tuple[FoundImages, "Conversion"]:
        """The images of one part, and how they are converted. What holds of classes is asked of all images together.

        Raises:
            ValueError: a class has no image, or a split has fewer images than there are parts.
        """
        found = self._with_class_notes(found)
        stamp = PartStamp(*part, listing_digest(found.splits))
        return replace(found, splits=slice_part(found.splits, part)), replace(self, part=stamp)

    def check(self, found: FoundImages) -> None:
        """Encode every image, keep none, and tell what there is to tell.

        Raises:
            ValueError: files cannot be used, and they are not to be left out; or a class has no image.
        """
        found = self._begin(found)
        with self._passes(found) as once, progress_bar(self.console) as progress:
            task = progress.add_task("looking at every image", total=sum(map(len, found.splits.values())))
            once.check(lambda: progress.advance(task))
        self._less_broken(found, once)
        self._tell(pixel_notes(once.facts, self.rules, self.background))

    def write(self, found: FoundImages, root: Path, format: str, asked: dict[str, Any]) -> Manifest:
        """Write a data set into `root`, and return its manifest.

        Where an image turns out to be broken, the pass goes on to find all of them, and nothing is written; with
        `skip_broken` another pass then leaves them out.

        Args:
            found: the images.
            root: the folder to write; its name is that of the data set.
            format: "beton", "dali" or "both".
            asked: where they came from, and by which options, for the manifest; see `records.asked_for`.

        Raises:
            ValueError: as `check`.
            ImportError, OSError: as `write_jpeg_dataset`.
        """
        if found.broken and not self.skip_broken:
            self.check(found)
        found, skipped = self._begin(found), list(found.broken)
        while True:
            with self._passes(found) as once:
                try:
                    manifest = self._written(found, skipped, once, root, format, asked)
                    break
                except BrokenImagesError:
                    found = self._less_broken(found, once)
                    skipped += once.broken
        self._tell(pixel_notes(once.facts, self.rules, self.background))
        return manifest

    def _begin(self, found: FoundImages) -> FoundImages:
        """Tell which files are no images at all, and what is to be said of the classes."""
        if found.broken and not self.skip_broken:
            return found
        if found.broken:
            self._tell_skipped(list(found.broken))
        return self._with_class_notes(found)

    def _less_broken(self, found: FoundImages, once: Pass) -> FoundImages:
        """What is left without the files that a pass found broken, if they may be left out."""
        broken = once.broken if self.skip_broken else [*found.broken, *once.broken]
        very_large = [file for file in broken if file.kind == VERY_LARGE]
        if not broken:
            return found
        if very_large or not self.skip_broken:
            print_broken(broken, self.console)
        if very_large:
            are = "1 image is" if len(very_large) == 1 else f"{len(very_large):,} images are"
            raise ValueError(f"{are} {VERY_LARGE}; the first is {very_large[0].name}")
        if not self.skip_broken:
            raise ValueError(refusal(broken))
        self._tell_skipped(broken)
        found = found.without(once.bad)
        return self._with_class_notes(found)

    def _with_class_notes(self, found: FoundImages) -> FoundImages:
        for split, images in found.splits.items():
            if not images:
                raise ValueError(f"no image of the split {split} can be used")
        if "train" not in found.splits:
            others = f", there are only images of {' and '.join(found.splits)}" if found.splits else ""
            raise ValueError(
                f"no image of the split train can be used{others}: the folders of splits, or the tars, are named "
                f"{SPLIT_NAMES}"
            )
        if self.part is not None:
            return found
        notes = check_classes(found, self.allow_empty)
        new = [note for note in notes if note not in found.notes]
        self._tell(new)
        return replace(found, notes=(*found.notes, *new))

    def _tell_skipped(self, broken: list[BrokenFile]) -> None:
        self.console.print(f"left out by --skip-broken: {files(len(broken))}", soft_wrap=True)
        print_broken(broken, self.console)

    def _tell(self, notes: list[str]) -> None:
        for note in notes:
            self.console.print(f"note: {note}", soft_wrap=True)

    @contextmanager
    def _passes(self, found: FoundImages) -> Iterator[Pass]:
        workers = self.workers or len(os.sched_getaffinity(0))
        with encoders(workers) as pool, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of damaged tags and the like
            yield Pass(pool, 4 * workers, found, self.quality, self.rules)

    def _written(
        self,
        found: FoundImages,
        skipped: list[BrokenFile],
        once: Pass,
        root: Path,
        format: str,
        asked: dict[str, Any],
    ) -> Manifest:
        limits = [f"longer side at most {self.rules.max_side} pixels"] if self.rules.max_side else []
        limits += [f"at most {self.rules.max_pixels:,} pixels"] if self.rules.max_pixels else []
        turned = "turned as orientation tags ask" if self.rules.orient else "pixels as stored"
        return write_jpeg_dataset(
            root,
            {split: (once.streams(split), [image.label for image in found.splits[split]]) for split in found.splits},
            found.classes,
            format=format,
            source=asked["images"],
            note=f"JPEG, {', '.join(limits) or 'of any size'}, {turned}, quality {self.quality} where encoded anew; "
            + NOTE,
            inventory=lambda: record(found, skipped, pixel_notes(once.facts, self.rules, self.background), asked),
            part=self.part,
            console=self.console,
        )
