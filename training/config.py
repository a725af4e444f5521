"""What a run is made of: one flat frozen value.

Knows names, types and limits of the settings; must not know where they are read from, nor what training does with them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# These say where and how often, never what is computed: a resumed run may change them.
NEUTRAL_KEYS = ("data", "out", "eval_every", "tta", "tensorboard")


@dataclass(frozen=True)
class Config:
    """Everything that decides a run.

    Args:
        data: folder made by a script of convert/ (train.beton, test.beton, manifest.json)
        out: folder for the results; a new runs/<name>/ when not given
        method: how samples are chosen (docs/methods.md): scan, uniform, fixed, p-sgd, c-sgd, active-bias, rank, loss,
            el2n, infobatch, orderdp, selective-backprop, ordered-sgd, grad-norm, random-batch; or FILE.py:FUNCTION
        coreset: file of `python -m training.coreset`; only its samples are trained on, and the run is charged with
            its cost
        keep: share of the images of a batch that selective-backprop (its exponent is 1/keep - 1), random-batch and
            ordered-sgd train on; when not given, the budget, and for ordered-sgd what the training accuracy says
        presample: images that grad-norm scores for each that it draws
        tau_threshold: how uneven gradients must be for grad-norm to begin, from 1; (presample + 3) / 3 when not given
        design: how they are drawn (race, systematic, replacement, credit, paged); auto is the method's own, or race
        smoothing: share of uniform draws; 0.5 in p-sgd, c-sgd and active-bias when not given, as published, else 0
        score: error that p-sgd and c-sgd go by: mean over all visits, as published, latest, or a moving average
        score_decay: what is left of that average when an epoch's error comes in
        warmup_epochs: first epochs that are drawn uniformly; when not given, a tenth in active-bias, else none
        uncertainty: active-bias by the variance of p(true class) or by p (1 - p)
        pressure: how much likelier rank draws the hardest sample than the easiest
        final_pressure: the same at the end of the run, reached geometrically; that of the beginning when not given
        prune_ratio: share of the samples below the mean loss that infobatch leaves out
        prune_until: share of the budget from which on infobatch leaves none out
        pool_fraction: share of the training set that orderdp takes the hardest from; budget / 0.6 when not given
        budget: share of the training set that one epoch may use, above 0 and up to 1; or what budget_unit says
        budget_unit: samples is that share; epochs trains on whole shuffled epochs, that share of their number; flops
            allows that share of the FLOPs of all epochs, scoring passes included; seconds is training time, for which
            budget is a number of seconds, epochs means nothing, and a resumed run is not equal to the bit
        epoch_fraction: share of the training set that one epoch draws when budget_unit is not samples
        epochs: number of epochs of the full budget
        batch_size: samples per step, over all ranks
        seed: decides order, augmentation and initial weights
        model: rebarnet (compact and quick), resnet18 or resnet8
        width: factor on the network's channels
        optimizer: muon for the convolution filters and sgd for the rest, or sgd for all
        muon_lr: rate of Muon at the first step; all rates fall linearly over the steps that the budget buys
        lr: rate of SGD at the first step
        head_lr: rate of SGD beside Muon for the last layer's matrix
        final_lr: rate behind the last step
        momentum: momentum of SGD
        nesterov: Nesterov's form of the momentum
        weight_decay: L2 term on all parameters of SGD
        label_smoothing: share of the target that is spread over all classes
        image_size: height and width that images are brought to, needed where they vary in size: of a random box in
            training, which takes the place of crop_padding, and of the centred square in tests
        smallest_box: share of an image's area that such a box takes at least
        crop_padding: pixels added on each side before a random crop; 0 is no crop
        pad_mode: what the added pixels hold
        flip: mirror half of the images left to right
        cutout: side in pixels of the square that is cut out; 0 is none
        randaugment: number and magnitude of RandAugment's operations, [2, 9]; none when not given
        mixer: how the images of a batch are mixed
        mixer_alpha: parameter of the mixer's Beta distribution; the method's own when not given
        clean_fraction: last share of the budget, without mixer and RandAugment
        mixer_visits: visits per sample that pay for a mixed run; of one with fewer the rest is clean. 0 mixes all
        ema: decay per step of the averaged weights that are evaluated, in the first steps less (step / (step + 9)); 0
            evaluates the trained ones
        size_schedule: height and width of the images in equal parts of the run, [24, 32]; [] for their own; when not
            given, of square ones three quarters of their own for two thirds of the run, as [24, 24, 32] for 32 pixels
        mean: mean per channel in units of [0, 1] for the normalisation; the data's own when not given
        std: standard deviation per channel, likewise
        precision: auto takes bf16 where the device computes it natively, else fp32; fp16 needs a GPU
        backend: what feeds the batches (auto, fused, reference, ffcv, ...)
        device: auto takes a GPU where there is one
        compile: compile the network with torch.compile, for GPUs
        eval_every: evaluate each that many epochs and after the last one; 0 is after the last one only
        compat: arazo repeats the reference's oddities in its rates, its choice of samples, its RandAugment and the
            samples that a mixed image's score is credited to
        tta: report the accuracy under test-time augmentation (flip and one-pixel shifts) too
        tensorboard: write TensorBoard event files too; needs the package tensorboard
    """

    data: str = "data/cifar10"
    out: str | None = None
    method: str = "scan"
    coreset: str | None = None
    keep: float | None = None
    presample: int = 3
    tau_threshold: float | None = None
    design: str = "auto"
    smoothing: float | None = None
    score: Literal["mean", "latest", "average"] = "mean"
    score_decay: float = 0.9
    warmup_epochs: int | None = None
    uncertainty: Literal["variance", "closeness"] = "variance"
    pressure: float = 100.0
    final_pressure: float | None = None
    prune_ratio: float = 0.5
    prune_until: float = 0.875
    pool_fraction: float | None = None
    budget: float = 1.0
    budget_unit: Literal["samples", "epochs", "flops", "seconds"] = "samples"
    epoch_fraction: float = 1.0
    epochs: int = 11
    batch_size: int = 250
    seed: int = 0
    model: str = "rebarnet"
    width: float = 1.0
    optimizer: Literal["muon", "sgd"] = "muon"
    muon_lr: float = 0.14
    lr: float = 1.25
    head_lr: float = 1.0
    final_lr: float = 0.0
    momentum: float = 0.85
    nesterov: bool = True
    weight_decay: float = 5e-4
    label_smoothing: float = 0.2
    image_size: int | None = None
    smallest_box: float = 0.35
    crop_padding: int = 2
    pad_mode: Literal["zero", "reflect"] = "reflect"
    flip: bool = True
    cutout: int = 0
    randaugment: tuple[int, int] | None = None
    mixer: Literal["none", "mixup", "cutmix", "ricap"] = "none"
    mixer_alpha: float | None = None
    clean_fraction: float = 0.0
    mixer_visits: float = 0.0
    ema: float = 0.99
    size_schedule: tuple[int, ...] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    backend: str = "auto"
    device: str = "auto"
    compile: bool = False
    compat: Literal["none", "arazo"] = "none"
    eval_every: int = 1
    tta: bool = False
    tensorboard: bool = False

    def __post_init__(self):
        _check_budget(self)
        for name in ("epochs", "batch_size", "image_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "muon_lr", "head_lr", "width"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name):g}")
        for name in ("final_lr", "weight_decay", "eval_every", "mixer_visits"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "clean_fraction", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name):g}")
        if not 0 < self.smallest_box <= 1:
            raise ValueError(f"smallest_box must be above 0 and at most 1, got {self.smallest_box:g}")
        if self.size_schedule and min(self.size_schedule) < 8:
            raise ValueError(f"sides are at least 8 pixels, got {min(self.size_schedule)}")

    @property
    def draw_fraction(self) -> float:
        """Share of the training set that one epoch draws."""
        return self.budget if self.budget_unit == "samples" else self.epoch_fraction

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """The opposite of `as_dict`."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})

    def as_dict(self) -> dict:
        """Plain values, as they go to config.yaml and into a checkpoint."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


def _check_budget(config: Config) -> None:
    budget, unit = config.budget, config.budget_unit
    if unit == "seconds" and not 0 < budget < float("inf"):
        raise ValueError(f"budget in seconds must be above 0, got {budget:g}")
    if unit != "seconds" and not 0 < budget <= 1:
        hint = {"samples": "0.3 trains on 30 % per epoch"}.get(unit, "it is a share of the full run")
        raise ValueError(f"budget must be above 0 and at most 1, got {budget:g}: {hint}")
    if not 0 < config.epoch_fraction <= 1:
        raise ValueError(f"epoch_fraction must be above 0 and at most 1, got {config.epoch_fraction:g}")
    if unit == "samples" and config.epoch_fraction != 1:
        raise ValueError("epoch_fraction is for the other budget units: with samples the budget is that share itself")


FIELDS = tuple(field.name for field in dataclasses.fields(Config))


def run_name(config: Config) -> str:
    """What a run's folder is called: data set, method, budget, seed."""
    unit = "" if config.budget_unit == "samples" else config.budget_unit
    method = config.method.rpartition(":")[2]  # of one's own the function's name
    method += f"-{Path(config.coreset).stem}" if config.coreset else ""
    return f"{Path(config.data).name}-{method}-b{config.budget:g}{unit}-s{config.seed}"
