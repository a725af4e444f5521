"""What every run is made of: one frozen value, its settings in the groups that `--help` shows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# These say where and how often, never what is computed: a resumed run may change them.
NEUTRAL_KEYS = ("data", "out", "eval_every", "tta", "tensorboard", "tracker")


@dataclass(frozen=True)
class DataOptions:
    """data

    Args:
        data: folder made by a script of convert/ (manifest.json, train.beton and test.beton, or shards in folders)
        coreset: file of `python -m training.coreset`; only its samples are trained on, and the run is charged for
            choosing them
        image_size: height and width that images are brought to, needed where they vary in size: in training a random
            box of the image (instead of crop_padding), in tests the centred square
        validation: fraction of the training set that is held out, equally of each class, and tested in place of the
            test set, which stays untouched; 0 trains on all and tests on the test set
        eval_split: test, or val where the data set has such a split
    """

    data: str = "data/cifar10"
    coreset: str | None = None
    image_size: int | None = None
    validation: float = 0.0
    eval_split: Literal["test", "val"] = "test"


@dataclass(frozen=True)
class MethodChoice:
    """method

    Args:
        method: how samples are chosen: a name of docs/methods.md, or FILE.py:FUNCTION for a policy of your own;
            `--method NAME --help` shows its options
        compat: arazo repeats the oddities of the reference code in the rates, the choice of samples, RandAugment and
            the samples that the score of a mixed image is credited to
        seed: decides order, augmentation and initial weights
    """

    method: str = "scan"
    compat: Literal["none", "arazo"] = "none"
    seed: int = 0


@dataclass(frozen=True)
class BudgetOptions:
    """budget

    Args:
        budget: fraction of the training set that one epoch may use, above 0 and up to 1; or what budget_unit says
        budget_unit: samples is that fraction; epochs trains for that fraction of the epochs; flops allows that fraction
            of the FLOPs of all epochs, scoring passes included; seconds is training time, for which budget is a number
            of seconds, epochs means nothing, and a resumed run is not equal to the bit
        epoch_fraction: fraction of the training set that one epoch draws when budget_unit is not samples; when not
            given, a method that chooses once an epoch draws the budget's own fraction (0.3 where the budget is in
            seconds), and any other method all of it
        epochs: number of epochs of the full budget
        batch_size: samples per step, over all ranks; 0 is 250, or a twentieth of the training set where that is less
    """

    budget: float = 1.0
    budget_unit: Literal["samples", "epochs", "flops", "seconds"] = "samples"
    epoch_fraction: float | None = None
    epochs: int = 11
    batch_size: int = 0


@dataclass(frozen=True)
class NetworkOptions:
    """network

    Args:
        model: rebarnet (compact and quick), resnet18 or resnet8, or FILE.py:FUNCTION for a network of your own
        width: factor on the network's channels
        size_schedule: height and width at which the network sees the images in equal parts of the run, such as
            [24, 32]; [] for their own size; when not given, square images are seen at three quarters of their size for
            two thirds of the run, as [24, 24, 32] for 32 pixels
        ema: decay per step of the averaged weights that are evaluated, less in the first steps (step / (step + 9)); 0
            evaluates the trained weights
    """

    model: str = "rebarnet"
    width: float = 1.0
    size_schedule: tuple[int, ...] | None = None
    ema: float = 0.99


@dataclass(frozen=True)
class OptimiserOptions:
    """optimiser

    Args:
        optimizer: muon for the convolution filters and sgd for the rest, or sgd for all
        lr_schedule: how all rates fall over the run: linear, cosine, or step, which multiplies them by lr_gamma at each
            of lr_milestones
        lr_milestones: fractions of the budget at which step lowers the rates
        lr_gamma: what step multiplies the rates by
        muon_lr: learning rate of Muon at the first step
        lr: learning rate of SGD at the first step
        head_lr: learning rate of SGD beside Muon for the last layer's matrix
        final_lr: learning rate that is reached after the last step; for linear and cosine
        momentum: momentum of SGD
        nesterov: use Nesterov's form of the momentum
        weight_decay: L2 term on all parameters of SGD
        label_smoothing: fraction of the target that is spread over all classes
    """

    optimizer: Literal["muon", "sgd"] = "muon"
    lr_schedule: Literal["linear", "cosine", "step"] = "linear"
    lr_milestones: tuple[float, ...] = (0.5, 0.75)
    lr_gamma: float = 0.1
    muon_lr: float = 0.14
    lr: float = 1.25
    head_lr: float = 1.0
    final_lr: float = 0.0
    momentum: float = 0.85
    nesterov: bool = True
    weight_decay: float = 5e-4
    label_smoothing: float = 0.2


@dataclass(frozen=True)
class AugmentationOptions:
    """augmentation

    Args:
        crop_padding: pixels added on each side before a random crop; 0 is no crop
        pad_mode: value of the added pixels: zero, or the reflection of the image
        smallest_box: with image_size, the smallest fraction of an image's area that a random box takes
        flip: mirror half of the images left to right; alternating mirrors an image in every second of its epochs
        vertical_flip: mirror half of the images top to bottom
        cutout: size in pixels of the square that is cut out; 0 is none
        erasing: probability that a random rectangle of an image is erased
        color_jitter: how far brightness, contrast and saturation vary, such as [0.4, 0.4, 0.4]; none when not given
        randaugment: number and magnitude of RandAugment's operations, such as [2, 9]; none when not given
        mixer: how the images of a batch are mixed
        mixer_alpha: parameter of the mixer's Beta distribution; the mixer's own when not given
        clean_fraction: last fraction of the budget, without mixer and RandAugment
        mixer_visits: visits per sample that a mixed run needs; a run with fewer is mixed for that part only and clean
            at its end. 0 mixes all of it
        mean: mean per channel in units of [0, 1] for the normalisation, three numbers, or one for grey images; the
            data's own when not given
        std: standard deviation per channel, likewise
    """

    crop_padding: int = 2
    pad_mode: Literal["zero", "reflect"] = "reflect"
    smallest_box: float = 0.35
    flip: bool | Literal["alternating"] = True
    vertical_flip: bool = False
    cutout: int = 0
    erasing: float = 0.0
    color_jitter: tuple[float, float, float] | None = None
    randaugment: tuple[int, int] | None = None
    mixer: Literal["none", "mixup", "cutmix", "ricap"] = "none"
    mixer_alpha: float | None = None
    clean_fraction: float = 0.0
    mixer_visits: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class MachineOptions:
    """machine

    Args:
        precision: auto takes bf16 where the device computes it natively, else fp32; fp16 needs a GPU
        backend: what feeds the batches (auto, fused, native, reference, ffcv, dali, gpu, nvimgcodec)
        device: auto takes a GPU where there is one
        compile: compile the network with torch.compile, for GPUs
        graph: launch each step at once, as a CUDA graph, where the host's launches set the pace; needs a GPU, and has
            not run on one yet
    """

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    backend: str = "auto"
    device: str = "auto"
    compile: bool = False
    graph: bool = False


@dataclass(frozen=True)
class OutputOptions:
    """output

    Args:
        out: folder for the results; a new runs/<name>/ when not given
        eval_every: evaluate each that many epochs and after the last one; 0 is after the last one only
        tta: report the accuracy under test-time augmentation (flip and one-pixel shifts) too
        tensorboard: write TensorBoard event files too; needs the package tensorboard
        tracker: log each epoch's numbers to wandb or trackio too; needs the package of that name
    """

    out: str | None = None
    eval_every: int = 1
    tta: bool = False
    tensorboard: bool = False
    tracker: Literal["none", "wandb", "trackio"] = "none"


GROUPS = (
    DataOptions,
    MethodChoice,
    BudgetOptions,
    NetworkOptions,
    OptimiserOptions,
    AugmentationOptions,
    MachineOptions,
    OutputOptions,
)


@dataclass(frozen=True)
class Config(
    OutputOptions,
    MachineOptions,
    AugmentationOptions,
    OptimiserOptions,
    NetworkOptions,
    BudgetOptions,
    MethodChoice,
    DataOptions,
):
    """All settings of a run, whatever its method, and the options of its method.

    A function that needs one group takes that group; a Config is each of them.

    Attributes:
        options: the method's own options, a frozen value of the type `Options` of its class (`training.methods`).

    Raises:
        ValueError: a value out of bounds.
    """

    options: Any = None

    def __post_init__(self):
        _check_budget(self)
        if self.validation and self.eval_split != "test":
            raise ValueError(
                "a run is tested on its val split or on a hold-out: give one of --eval_split, --validation"
            )
        for name in ("epochs", "image_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "muon_lr", "head_lr", "width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name):g}")
        for name in ("batch_size", "final_lr", "weight_decay", "eval_every", "mixer_visits"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "clean_fraction", "ema", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name):g}")
        if not 0 < self.lr_gamma <= 1 or not all(0 < at < 1 for at in self.lr_milestones):
            raise ValueError(
                "lr_gamma must be above 0 and at most 1, and lr_milestones between 0 and 1, got "
                f"{self.lr_gamma:g} and {[*self.lr_milestones]}"
            )
        if self.std and not all(0 < value < float("inf") for value in self.std):
            raise ValueError(f"std must be above 0 in every channel, got {[*self.std]}")
        if not 0 < self.smallest_box <= 1:
            raise ValueError(f"smallest_box must be above 0 and at most 1, got {self.smallest_box:g}")
        if not 0 <= self.erasing <= 1 or not all(x >= 0 for x in self.color_jitter or ()):
            raise ValueError(
                "erasing is a probability, 0 to 1, and color_jitter three numbers of at least 0, got "
                f"{self.erasing:g} and {self.color_jitter}"
            )
        if self.size_schedule and min(self.size_schedule) < 8:
            raise ValueError(f"the sizes of size_schedule are at least 8 pixels, got {min(self.size_schedule)}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they go to config.yaml and into a checkpoint; the method's options among them."""
        values = {name: getattr(self, name) for name in FIELDS} | (vars(self.options) if self.options else {})
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @property
    def run_name(self) -> str:
        """What a run's folder is called: data set, method, budget, seed."""
        unit = "" if self.budget_unit == "samples" else self.budget_unit
        method = self.method.rpartition(":")[2]  # of FILE.py:FUNCTION the function's name
        method += f"-{Path(self.coreset).stem}" if self.coreset else ""
        return f"{Path(self.data).name}-{method}-b{self.budget:g}{unit}-s{self.seed}"


FIELDS = tuple(field.name for group in GROUPS for field in dataclasses.fields(group))


def _check_budget(config: BudgetOptions) -> None:
    budget, unit = config.budget, config.budget_unit
    if unit == "seconds" and not 0 < budget < float("inf"):
        raise ValueError(f"budget in seconds must be above 0, got {budget:g}")
    if unit != "seconds" and not 0 < budget <= 1:
        hint = {"samples": "0.3 trains on 30 % per epoch"}.get(unit, "it is a fraction of the full run")
        raise ValueError(f"budget must be above 0 and at most 1, got {budget:g}: {hint}")
    if config.epoch_fraction is None:
        return
    if not 0 < config.epoch_fraction <= 1:
        raise ValueError(f"epoch_fraction must be above 0 and at most 1, got {config.epoch_fraction:g}")
    if unit == "samples":
        raise ValueError("epoch_fraction is for the other budget units: with samples the budget is that fraction")
