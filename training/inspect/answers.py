"""The outputs of a run's network for each unaugmented training image, by one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.augmentation import normalise
from training.data.loading import open_loader, whole_split
from training.data.manifest import check_labels
from training.machine.precision import choose_precision
from training.models.build import features_of, last_linear
from training.report.past_run import PastRun
from training.step.passes import forward

SIDE = 8  # pixels of an outline
_MOST_AT_ONCE = 500  # images


class Answers(NamedTuple):
    """The network's answers, by sample id.

    Attributes:
        labels, rivals: int64 [N], the given class, and the likeliest one of the others.
        p_label, p_rival: float32 [N], their probabilities.
        features: float16 [N, F], what the last layer is given; on the device.
        outlines: float16 [N, 64 C], each image as 8 x 8 colours (`outline`); on the device.
    """

    labels: np.ndarray
    rivals: np.ndarray
    p_label: np.ndarray
    p_rival: np.ndarray
    features: Tensor
    outlines: Tensor

    @property
    def guesses(self) -> np.ndarray:
        """The likeliest class, int64 [N]."""
        return np.where(self.p_rival > self.p_label, self.rivals, self.labels)


@torch.inference_mode()
def ask(run: PastRun, device: torch.device, say: Callable[[int], None] = lambda num_images: None) -> Answers:
    """One pass in evaluation mode, without augmentation. Beside those of a batch it holds 2 F + 408 bytes an image.

    Args:
        say: is told how many more images are done.

    Raises:
        ValueError: an image or a label is not what the manifest says, or the network's answers are not finite.
    """
    batch_size = min(run.config.batch_size, _MOST_AT_ONCE)
    loader = open_loader(run.config, device, "train", normalise(run.config, run.manifest), batch_size)
    check_labels(loader, run.manifest, "train")
    precision = choose_precision("auto", device)
    model = run.model.to(device)
    rivals = torch.empty(run.num_samples, dtype=torch.int64)
    p_label, p_rival = torch.empty(2, run.num_samples)
    num_features = last_linear(model).in_features
    features = torch.empty(run.num_samples, num_features, dtype=torch.float16, device=device)
    outlines = torch.empty(
        run.num_samples, run.manifest.image_shape[2] * SIDE * SIDE, dtype=torch.float16, device=device
    )
    start = 0
    with features_of(model) as latest:
        for batch in loader.epoch(whole_split(run.num_samples)):
            p_BC = forward(model, batch.images, precision).float().softmax(1)
            end = start + len(p_BC)
            labels_B1 = batch.labels[:, None]
            p_label[start:end] = p_BC.gather(1, labels_B1)[:, 0]
            p_rival[start:end], rivals[start:end] = p_BC.scatter(1, labels_B1, -1.0).max(1)
            features[start:end] = latest["features"]
            outlines[start:end] = outline(batch.images)
            say(end - start)
            start = end
    if not p_label.isfinite().all():
        raise ValueError(f"the network of {run.folder} answers with numbers that are not finite: the run has diverged")
    return Answers(loader.dataset.labels, rivals.numpy(), p_label.numpy(), p_rival.numpy(), features, outlines)


def outline(images_BCHW: Tensor) -> Tensor:
    """Images as 8 x 8 colours, float [B, 64 C], less the mean of each channel, all mirrored to be brighter on the left.

    So images that differ in brightness or are mirrored have equal outlines, and shifted or compressed ones have close
    ones.
    """
    small = F.adaptive_avg_pool2d(images_BCHW.float(), SIDE)
    small = small - small.mean((2, 3), keepdim=True)
    lean_B = small[..., : SIDE // 2].sum((1, 2, 3)) - small[..., SIDE // 2 :].sum((1, 2, 3))
    return torch.where(lean_B[:, None, None, None] < 0, small.flip(3), small).flatten(1)
