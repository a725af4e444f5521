"""What one backend over one file with one augmentation must deliver, made by the slow oracle.

Ids and labels follow from the plan. Pixels are those of the decoded image, augmented and mixed by the reference. Raw
images decode to what is in the file, JPEG to what the backend itself gives without augmentation (a test holds that
near the reference's): so all that comes after the decoder is compared to the bit, JPEG or not.
"""

import dataclasses
import functools
import itertools
import os
import time
from pathlib import Path

import numpy as np
import torch

from loaders import Augment, Batch, EpochPlan, make_loader
from loaders.augment.mixers import draw_mix
from loaders.backends.reference import augmented, mixed
from loaders.loader import Loader

BATCH = 4
UNRESIZED = {"resize": 0, "random_resized_crop": None, "center_crop": 1.0}


def bytes_of(batch: Batch) -> np.ndarray:
    """uint8 [B, H, W, 3]"""
    return batch.images.permute(0, 2, 3, 1).numpy()


class Case:
    """A loader and what it must deliver. A plan is named by its length and a seed."""

    def __init__(self, path: Path, damaged: Path | None, backend: str, augment: Augment):
        self.path, self.damaged, self.backend, self.augment = path, damaged, backend, augment
        self.loader = self.open(path)
        self.dataset = self.loader.dataset
        jpegs = self.dataset.is_jpeg.nonzero()[0]
        self.victim = int(jpegs[-1]) if len(jpegs) else 7  # damaged in `damaged`, in no plan
        self.decoded, self.wanted = functools.cache(self._decoded), functools.cache(self._wanted)

    def open(self, path: Path, backend: str | None = None, augment: Augment | None = None) -> Loader:
        options = {"backend": backend or self.backend, "augment": augment or self.augment, "dtype": torch.uint8}
        return make_loader(path, BATCH, **options)

    def plan(self, length: int = 18, seed: int = 0) -> EpochPlan:
        """At most twelve images, so that more positions repeat some."""
        rng = np.random.default_rng(seed)
        drawn_ids = rng.choice(np.delete(np.arange(self.dataset.num_samples), self.victim), 12)
        return EpochPlan(rng.choice(drawn_ids, length), key=2**63 + seed)

    def _decoded(self, backend: str, length: int, seed: int) -> np.ndarray:
        """uint8 [K, H, W, 3]: the images of a plan, to which nothing was done but a resize."""
        kept = {name: getattr(self.augment, name) for name in UNRESIZED}
        batches = self.open(self.path, backend, Augment(**kept)).epoch(self.plan(length, seed))
        return np.concatenate([bytes_of(batch) for batch in batches])

    def _wanted(self, length: int = 18, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids and pixels uint8 [B, H, W, 3] of each batch of a plan."""
        plan, augment = self.plan(length, seed), dataclasses.replace(self.augment, **UNRESIZED)
        decoded = self.decoded("reference" if self.dataset.kind == "raw" else self.backend, length, seed)
        augmented_images = [augmented(image, augment, plan, i) for i, image in enumerate(decoded)]
        batches = []
        for first in range(0, length, BATCH):
            pixels = np.stack(augmented_images[first : first + BATCH])
            if augment.mixer is not None:
                pixels = mixed(pixels, draw_mix(augment.mixer, plan.key, first, *pixels.shape[:3]))
            batches.append((plan.ids[first : first + BATCH], pixels))
        return batches

    def check(self, batches, wanted) -> None:
        """Batches are those wanted, no more and no less."""
        for batch, (ids, pixels) in itertools.zip_longest(batches, wanted, fillvalue=(None, None)):
            assert isinstance(batch, Batch), "batches are missing"
            assert ids is not None, "there are too many batches"
            assert np.array_equal(batch.ids.numpy(), ids)
            assert np.array_equal(batch.labels.numpy(), self.dataset.labels[ids])
            assert np.array_equal(bytes_of(batch), pixels)


def exit_code(child: int) -> int:
    """Of a process that must end within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")
