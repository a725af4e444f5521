"""The contract as one matrix: every file, backend and augmentation, in every situation that an epoch can meet."""

import contextlib
import itertools
import os
import time

import numpy as np
import pytest

from loaders import (
    RICAP,
    Augment,
    ColorJitter,
    CutMix,
    EpochPlan,
    Mixup,
    RandAugment,
    RandomErasing,
    open_dataset,
)
from loaders.backends.batching import Columns
from tests.loaders.backends.contract import BATCH, Case, exit_code

AUGMENTS = {
    "none": Augment(),
    "crop": Augment(crop_padding=4),
    "crop, reflect": Augment(crop_padding=3, pad_mode="reflect"),
    "flip": Augment(flip=True),
    "cutout": Augment(cutout=9),
    "crop, flip, cutout": Augment(crop_padding=4, flip=True, cutout=8),
    "mixup": Augment(crop_padding=4, flip=True, mixer=Mixup(1.0)),
    "CutMix": Augment(crop_padding=3, pad_mode="reflect", flip=True, mixer=CutMix()),
    "RICAP": Augment(flip=True, cutout=8, mixer=RICAP(1.0)),
    "alternating flip, mixup": Augment(flip="alternating", vertical_flip=True, crop_padding=2, mixer=Mixup(1.0)),
    "jitter, erasing, CutMix": Augment(
        color_jitter=ColorJitter(0.4, 0.4, 0.4),
        crop_padding=4,
        erasing=RandomErasing(1.0, value="random"),
        mixer=CutMix(),
    ),
    "RandAugment": Augment(randaugment=RandAugment(2, 9), crop_padding=4, flip=True),
    "RandAugment of Arazo, mixup": Augment(randaugment=RandAugment(2, 4, "arazo"), flip=True, mixer=Mixup(0.3)),
}
RESIZED = {
    "center": Augment(resize=48, center_crop=0.875),
    "random": Augment(resize=40, random_resized_crop=(0.08, 1.0)),
    "random, all": Augment(resize=32, random_resized_crop=(0.25, 1.0), crop_padding=4, flip=True, cutout=8),
    "random, CutMix": Augment(resize=32, random_resized_crop=(0.08, 1.0), flip=True, mixer=CutMix()),
    "random, RandAugment": Augment(resize=32, random_resized_crop=(0.25, 1.0), randaugment=RandAugment(), flip=True),
}
FILES = {  # the backends that read it, and the augmentations to try
    "raw": (("reference", "fused", "ffcv", "dali"), AUGMENTS),
    "jpeg": (("reference", "native", "ffcv", "dali"), AUGMENTS | RESIZED),
    "raw and jpeg": (("reference", "native", "ffcv", "dali"), {"RICAP": AUGMENTS["RICAP"]} | RESIZED),
    "jpeg of several sizes": (("reference", "native", "ffcv", "dali"), RESIZED),
}
# Mean and largest distance of decoded JPEG from the reference's (docs/formats.md names the causes). The small images
# are noisier than photographs, for which `test_jpeg` holds narrower bounds.
TOLERANCE = {"reference": (0, 0), "native": (0.5, 6), "dali": (0.5, 6), "ffcv": (2, 24)}
MARKS = {"dali": pytest.mark.dali, "ffcv": pytest.mark.ffcv}
CASES = [
    pytest.param((file, backend, augments[name]), id=f"{file}-{backend}-{name}", marks=MARKS.get(backend, ()))
    for file, (backends, augments) in FILES.items()
    for backend in backends
    for name in augments
]


@pytest.fixture(scope="module")
def files(betons, photos, tmp_path_factory):
    """name -> the file, and a copy in which one JPEG is damaged (None where there is no JPEG)."""
    folder, found = tmp_path_factory.mktemp("damaged"), {"raw": (betons["square"].path, None)}
    for name, path in (
        ("jpeg", betons["jpeg"].path),
        ("raw and jpeg", betons["mixed"].path),
        ("jpeg of several sizes", photos / "train.beton"),
    ):
        content, dataset = np.fromfile(path, np.uint8), open_dataset(path)
        sample = dataset.is_jpeg.nonzero()[0][-1]
        start, size = dataset.offsets[sample], dataset.sizes[sample]
        content[start + min(300, size // 2) : start + size] = 0
        content.tofile(folder / f"{name}.beton")
        found[name] = path, folder / f"{name}.beton"
    return found


@pytest.fixture(scope="module")
def case(files, request):
    file, backend, augment = request.param
    return Case(*files[file], backend, augment)


def decoding_is_near_the_references(case):
    mine, theirs = (case.decoded(backend, 18, 0).astype(int) for backend in (case.backend, "reference"))
    mean, largest = (0, 0) if case.dataset.kind == "raw" else TOLERANCE[case.backend]
    assert np.abs(mine - theirs).mean() <= mean
    assert np.abs(mine - theirs).max() <= largest


def repeats_and_a_short_last_batch(case):
    assert len(set(case.plan().ids.tolist())) < 18
    assert len(case.wanted()[-1][0]) == 18 % BATCH
    case.check(case.loader.epoch(case.plan()), case.wanted())


def lengths_that_change(case):
    for which in ((18, 0), (3, 1), (8, 2), (1, 3), (13, 4)):
        case.check(case.loader.epoch(case.plan(*which)), case.wanted(*which))


def a_tail(case):
    case.check(case.loader.epoch(case.plan(), start_batch=3), case.wanted()[3:])


def an_early_break(case):
    for taken in (0, 1, 3):
        batches = case.loader.epoch(case.plan())
        case.check(itertools.islice(batches, taken), case.wanted()[:taken])
        batches.close()
    case.check(case.loader.epoch(case.plan(13, 1)), case.wanted(13, 1))


def an_error_in_the_middle(case):
    """In a batch of the middle one image is damaged; where there are no streams, its columns cannot be read."""
    loader, plan, fault, text = case.loader, case.plan(), columns_fail_at(3 * BATCH), "the disk is gone"
    if case.damaged is not None:
        loader, fault, text = (
            case.open(case.damaged),
            contextlib.nullcontext(),
            "the JPEG of sample .* cannot be decoded",
        )
        plan = EpochPlan(np.insert(plan.ids, 3 * BATCH + 1, case.victim), key=plan.key)
    delivered, at = [], [time.monotonic()]

    def consume():
        for batch in loader.epoch(plan):
            delivered.append(batch)
            at.append(time.monotonic())

    with fault, pytest.raises((OSError, ValueError), match=text):
        consume()
    assert time.monotonic() - at[-1] < 1
    case.check(delivered, case.wanted()[:3])
    case.check(loader.epoch(case.plan(13, 1)), case.wanted(13, 1))


@contextlib.contextmanager
def columns_fail_at(first: int):
    def fails(columns, span):
        if span.first == first:
            raise OSError("the disk is gone")
        return read(columns, span)

    read = Columns.slice
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Columns, "slice", fails)
        yield


def two_loaders_at_once(case):
    other = case.open(case.path)
    rows = zip(
        case.loader.epoch(case.plan()), case.loader.epoch(case.plan(18, 1)), other.epoch(case.plan()), strict=True
    )
    for row, *wanted in zip(rows, case.wanted(), case.wanted(18, 1), case.wanted(), strict=True):
        case.check(row, wanted)


def a_fork_after_use(case):
    """The child delivers the same; where DALI has decoded in the parent, which it does not survive, it says so."""
    refuses = case.backend == "dali" and case.dataset.kind != "raw"
    wanted, others = case.wanted(), case.wanted(13, 1)  # made here: the child does nothing but load
    batches = case.loader.epoch(case.plan())
    case.check([next(batches)], wanted[:1])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with pytest.raises(RuntimeError, match="fork") if refuses else contextlib.nullcontext():
                case.check(case.loader.epoch(case.plan(13, 1)), others)
            status = 0
        finally:
            os._exit(status)
    assert exit_code(child) == 0
    case.check(batches, wanted[1:])


SITUATIONS = (
    decoding_is_near_the_references,
    repeats_and_a_short_last_batch,
    lengths_that_change,
    a_tail,
    an_early_break,
    an_error_in_the_middle,
    two_loaders_at_once,
    a_fork_after_use,
)


@pytest.mark.parametrize("case", CASES, indirect=True)
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_contract(case, situation):
    situation(case)
