"""Options of `training.coreset`: a frozen value and its command line."""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from loaders.order.rng import CORESET, fold_in
from training.arguments import parse, underscored
from training.config import Config
from training.machine.commands import command

# method -> proxies and epochs of each where the command line does not say
DEFAULTS = {
    "forgetting": (1, 8),
    "el2n": (4, 2),
    "grand": (4, 2),
    "entropy": (1, 4),
    "margin": (1, 4),
    "craig": (1, 4),
    "rho": (1, 8),
    "random": (0, 0),
}
UNRANKED = ("craig", "rho", "random")  # methods that know no hardest sample


@dataclass(frozen=True)
class Options:
    """What to choose, and the small networks that it is chosen with.

    Args:
        method: the samples forgotten most often (forgetting), of the largest error (el2n) or last-layer gradient
            (grand), of the largest entropy or smallest margin, those whose gradients stand for all others' (craig), any
            that are held out from the network whose losses on them are kept (rho, for --method rho-loss), or any
            (random)
        data: folder made by a script of convert/
        fraction: fraction of the training set to choose, above 0 and up to 1
        balanced: choose that fraction of each class, not of all samples together; craig and rho always do
        offset: fraction of the very hardest samples that is left out first
        seeds: number of networks whose scores are added up; 4 for el2n and grand, else 1, when not given
        epochs: epochs that each is trained; 8 for forgetting and rho, 2 for el2n and grand, else 4, when not given
        model: rebarnet, resnet18 or resnet8, or FILE.py:FUNCTION for a network of your own
        width: factor on the network's channels
        image_size: height and width that images are brought to, needed where they vary in size
        batch_size: samples per step; 0 is 250, or a twentieth of the training set where that is less
        seed: decides everything random
        precision: auto, bf16, fp16 or fp32
        backend: how images are loaded (auto, fused, native, ffcv, dali, nvimgcodec, reference)
        device: auto takes a GPU where there is one
        out: file to write, NAME.npz, with NAME.json beside it; coresets/<data>-<method>-<fraction>.npz when not given
    """

    method: Literal["forgetting", "el2n", "grand", "entropy", "margin", "craig", "rho", "random"]
    data: str = "data/cifar10"
    fraction: float = 0.3
    balanced: bool = False
    offset: float = 0.0
    seeds: int | None = None
    epochs: int | None = None
    model: str = "rebarnet"
    width: float = 0.5
    image_size: int | None = None
    batch_size: int = 250
    seed: int = 0
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    backend: str = "auto"
    device: str = "auto"
    out: str | None = None

    def __post_init__(self):
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {self.fraction:g}: 0.3 chooses 30 %")
        if not 0 <= self.offset <= 1 - self.fraction + 1e-9:
            raise ValueError(
                f"offset must be from 0 to 1 - fraction, got {self.offset:g} beside a fraction of {self.fraction:g}"
            )
        if self.offset and self.method in UNRANKED:
            raise ValueError(f"{self.method} ranks no samples, so it has no hardest to leave out: leave --offset out")
        if self.method == "rho" and self.fraction > 0.95:
            raise ValueError(
                f"rho trains its network on the rest of the training set, got a fraction of {self.fraction:g}: "
                "choose at most 0.95"
            )
        if self.method == "random" and (self.seeds or self.epochs):
            raise ValueError("random trains no network: leave --seeds and --epochs out")
        if self.path.suffix != ".npz":
            raise ValueError(f"out is the name of a file that ends in .npz, got {self.out}")
        for name, value in (("seeds", self.num_networks), ("epochs", self.num_epochs)):
            if value < 1 and self.method != "random":
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def num_networks(self) -> int:
        """Networks whose scores are added up."""
        return DEFAULTS[self.method][0] if self.seeds is None else self.seeds

    @property
    def num_epochs(self) -> int:
        """Epochs that each is trained."""
        return DEFAULTS[self.method][1] if self.epochs is None else self.epochs

    @property
    def path(self) -> Path:
        """The file to write."""
        balanced = "-balanced" if self.balanced else ""
        return Path(self.out or f"coresets/{Path(self.data).name}-{self.method}{balanced}-{self.fraction:g}.npz")

    def deciding(self) -> dict[str, Any]:
        """What decides the choice, as the manifest keeps it."""
        values = {**vars(self), "seeds": self.num_networks, "epochs": self.num_epochs}
        return {name: value for name, value in values.items() if name not in ("data", "backend", "device", "out")}

    def proxy(self, number: int) -> Config:
        """Settings of one network: a plain run over whole epochs, no sample twice in one, rates falling to zero at the
        end; it is the trained weights that are asked. For rho, what is chosen is held out."""
        return Config(
            data=self.data,
            method="uniform",
            ema=0.0,
            model=self.model,
            width=self.width,
            epochs=self.num_epochs,
            batch_size=self.batch_size,
            seed=fold_in(self.seed, CORESET, number),
            label_smoothing=0.0,
            validation=self.fraction if self.method == "rho" else 0.0,
            image_size=self.image_size,
            size_schedule=(),
            precision=self.precision,
            backend=self.backend,
            device=self.device,
        )


def parse_options(argv: list[str] | None = None) -> Options:
    """Read a command line.

    Raises:
        ValueError: one sentence for an unknown option, or for a value that is not allowed.
    """
    parser = ArgumentParser(
        prog=command("coreset"),
        description="Choose a part of a training set, for training.run --coreset.",
        exit_on_error=False,
    )
    parser.add_class_arguments(Options, as_group=False, skip={"balanced"})
    parser.add_argument(
        "--balanced", action="store_true", help="choose the fraction of each class, not of all together"
    )
    values = parse(parser, underscored(sys.argv[1:] if argv is None else argv))
    return Options(**{field.name: getattr(values, field.name) for field in fields(Options)})
