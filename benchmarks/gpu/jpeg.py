"""JPEG to batches of 224 x 224 on a GPU, beside stock DALI and the decoder alone: a part of `benchmarks.gpu`.

Random-resized-crop of 8 to 100 % of the area from synthetic images of 400 to 500 pixels, uint8. The ceilings are
nvImageCodec's decoder without anything around it: over whole streams and over the parts that the boxes need, by all
that it has and by the card's hardware alone.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import jpeg_peers, jpeg_sets
from benchmarks.measure import interleave
from loaders import Augment, EpochPlan, make_loader, open_dataset
from loaders.augment.crop import boxes
from loaders.backends.jpeg_parts import cut_parts
from loaders.formats.sentence import one_line
from loaders.threads import available_cores

Epoch = Callable[[], int]
WHOLE, PARTS = "decoder alone, whole streams", "decoder alone, parts of streams"
HARDWARE = ", hardware only"
# Row -> the ceiling that its streams have.
OURS = {
    "native, made on the host and copied": None,
    "dali": PARTS,
    "dali, no restart rows": WHOLE,
    "nvimgcodec": PARTS,
    "nvimgcodec, no restart rows": WHOLE,
}


def jpeg_rows(
    folder: Path,
    device: str,
    save: Callable[[dict], None],
    num_images: int = 4096,
    batch: int = 256,
    repeats: int = 3,
    in_set: int = 500,
) -> None:
    """Measure all rows, in turns.

    Args:
        folder: where the images are kept, made on the first call.
        device: where the batches go; "cpu" is to try the program.
        save: is given the rows: name -> `images_per_s`, and `of_decoder` and `of_hardware`, the fractions of the
            ceilings; or `failed`, a sentence.
        num_images: that an epoch of ours delivers; the set is repeated.
        repeats: turns that count.
        in_set: images in the set, when it is made.
    """
    found, where = jpeg_sets.synthetic(folder, in_set), torch.device(device)
    if where.type == "cuda":
        where = torch.device("cuda", torch.cuda.current_device())
    contenders, rows, counts = _contenders(found, where, num_images, batch), {}, {}
    for name, make in contenders.items():
        try:
            call = make()
            counts[name] = call()
        except Exception as error:  # noqa: BLE001 (whatever a library or a card does: the others are measured)
            rows[name] = {"failed": one_line(str(error)) or type(error).__name__}
        else:
            contenders[name] = call
        save(rows)
    seconds: dict[str, list[float]] = {name: [] for name in counts}
    for _ in range(repeats):
        for name, times in interleave({name: contenders[name] for name in counts}, 1, warm_up=0).items():
            seconds[name].append(times["median_s"])
        rates = {name: counts[name] / median(values) for name, values in seconds.items()}
        for name, rate in rates.items():
            rows[name] = {"images_per_s": rate, "n": len(seconds[name])}
            ceiling = OURS.get(name)
            for fraction, what in (("of_decoder", ceiling), ("of_hardware", ceiling and ceiling + HARDWARE)):
                if what in rates:
                    rows[name][fraction] = rate / rates[what]
        save(rows)


def _contenders(found: Path, device: torch.device, num_images: int, batch: int) -> dict[str, Callable]:
    """What is measured, by name: a call that makes it ready, and returns what delivers an epoch and counts it."""
    files = {PARTS: found / "rows.beton", WHOLE: found / "plain.beton"}
    augment = jpeg_peers.CROPS["random-resized-crop"]
    num_samples = open_dataset(files[PARTS]).num_samples
    plan = EpochPlan(np.resize(np.random.default_rng(0).permutation(num_samples), num_images), key=1)
    made = {}
    for name, ceiling in OURS.items():
        backend = name.partition(",")[0]
        made[name] = functools.partial(_ours, files[ceiling or PARTS], backend, augment, device, plan, batch)
    made["stock DALI"] = functools.partial(_stock_dali, found / "source", batch, device)
    for kinds, more in (((), ""), (("HW_GPU_ONLY",), HARDWARE)):
        for ceiling, file in files.items():
            made[ceiling + more] = functools.partial(_decoder_alone, file, augment, device, plan, batch, kinds)
    return made


def _ours(file: Path, backend: str, augment: Augment, device: torch.device, plan: EpochPlan, batch: int) -> Epoch:
    loader = make_loader(file, batch, backend=backend, device=device, dtype=torch.uint8, augment=augment)

    def epoch() -> int:
        count = sum(len(made.ids) for made in loader.epoch(plan))
        _finish(device)
        return count

    return epoch


def _stock_dali(source: Path, batch: int, device: torch.device) -> Epoch:
    epoch = jpeg_peers.dali(source, "random-resized-crop", batch, device.index)

    def finished() -> int:
        count = epoch()
        _finish(device)
        return count

    return finished


def _decoder_alone(
    file: Path, augment: Augment, device: torch.device, plan: EpochPlan, batch: int, kinds: tuple[str, ...]
) -> Epoch:
    from loaders.backends.gpu.nvimgcodec import decoder

    dataset, decode = open_dataset(file), decoder(device, available_cores(), kinds)
    box = boxes(augment, plan.key, plan.positions, dataset.heights[plan.ids], dataset.widths[plan.ids])
    streams = cut_parts(dataset, plan.ids, box).streams

    def epoch() -> int:
        count = 0
        for first in range(0, len(streams), batch):
            images = decode(streams[first : first + batch])
            if any(image is None for image in images):
                raise ValueError("it does not decode all of these images")
            count += len(images)
        _finish(device)
        return count

    return epoch


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
