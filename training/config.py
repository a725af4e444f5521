"""What a run is made of: one flat frozen value, read as defaults < YAML file < command line.

Knows names, types and limits of the settings; must not know what the training does with them.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from jsonargparse import ArgumentError, ArgumentParser

# These say where and how often, never what is computed: a resumed run may change them.
NEUTRAL_KEYS = ("data", "out", "eval_every", "tta")


@dataclass(frozen=True)
class Config:
    """Everything that decides a run.

    Args:
        data: folder made by a script of convert/ (train.beton, test.beton, manifest.json)
        out: folder for the results; a new runs/<name>/ when not given
        method: how the samples of an epoch are chosen (uniform, p-sgd, c-sgd, ...)
        budget: share of the training set that one epoch may use, above 0 and up to 1
        epochs: number of epochs
        batch_size: samples per step
        seed: decides order, augmentation and initial weights
        model: name of the network
        optimizer: muon (with SGD for what is not a matrix) or sgd alone
        muon_lr: learning rate of Muon at the first step (size of a step relative to a filter of norm 1)
        lr: learning rate of SGD at the first step; rates fall linearly over the steps that the budget buys
        final_lr: learning rate of SGD behind the last step
        momentum: momentum of SGD
        nesterov: Nesterov's form of the momentum
        weight_decay: L2 term on all parameters of SGD
        label_smoothing: share of the target that is spread over all classes
        crop_padding: pixels added on each side before a random crop; 0 is no crop
        pad_mode: what the added pixels hold
        flip: mirror half of the pictures left to right
        cutout: side in pixels of the square that is cut out; 0 is none
        mean: mean per channel in units of [0, 1] for the normalisation; the data's own when not given
        std: standard deviation per channel, likewise
        precision: auto takes bf16 where the processor computes it natively, and fp32 elsewhere; fp16 needs a GPU
        backend: what feeds the batches (auto, fused, reference, ffcv, ...)
        device: auto takes a GPU where there is one
        eval_every: evaluate each that many epochs and after the last one; 0 is after the last one only
        compat: arazo repeats the reference's rates to the digit, down to final_lr in the last step
        tta: report the accuracy under test-time augmentation (flip and one-pixel shifts) too
    """

    data: str = "data/cifar10"
    out: str | None = None
    method: str = "uniform"
    budget: float = 1.0
    epochs: int = 8
    batch_size: int = 500
    seed: int = 0
    model: str = "rebarnet"
    optimizer: Literal["muon", "sgd"] = "sgd"
    muon_lr: float = 0.24
    lr: float = 0.1
    final_lr: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    crop_padding: int = 4
    pad_mode: Literal["zero", "reflect"] = "reflect"
    flip: bool = True
    cutout: int = 0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    backend: str = "auto"
    device: str = "auto"
    compat: Literal["none", "arazo"] = "none"
    eval_every: int = 1
    tta: bool = False

    def __post_init__(self):
        if not 0 < self.budget <= 1:
            raise ValueError(f"budget must be above 0 and at most 1, got {self.budget:g}: 0.3 trains on 30 % per epoch")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "muon_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name):g}")
        for name in ("final_lr", "weight_decay", "eval_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name):g}")

    def as_dict(self) -> dict:
        """Plain values, as they go to config.yaml and into a checkpoint."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


FIELDS = tuple(field.name for field in dataclasses.fields(Config))


def parse_args(argv: list[str] | None = None) -> tuple[Config, str | None]:
    """Read a command line: defaults < settings of the run that --resume continues < --config FILE < other options.

    Returns:
        the configuration, and where to resume from: a checkpoint's path, "" for a new run.

    Errors:
        ValueError: one sentence for an unknown option or key, or for a value out of bounds.
    """
    values = _parse(argv, None)
    if values.resume is None:
        return _config(values), None
    checkpoint = find_checkpoint(values.resume, _config(values))
    if values.out is not None and Path(values.out).resolve() != checkpoint.parent.resolve():
        raise ValueError(f"--resume continues {checkpoint.parent} in place, but --out is {values.out}: leave --out out")
    settings = checkpoint.with_name("config.yaml")
    if settings.exists():
        read_yaml(settings)
        values = _parse(argv, settings)
    return dataclasses.replace(_config(values), out=str(checkpoint.parent)), checkpoint


def run_name(config: Config) -> str:
    """What a run's folder is called: data set, method, budget, seed."""
    return f"{Path(config.data).name}-{config.method}-b{config.budget:g}-s{config.seed}"


def read_yaml(path: str | Path) -> dict:
    """The settings in a YAML file, its keys checked.

    Errors:
        ValueError: the file is missing, is not a YAML mapping, or has a key that is no setting.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values or {}, dict):
        raise ValueError(f"{path} must hold `key: value` lines, got a {type(values).__name__}")
    for key in values or {}:
        if key not in FIELDS:
            raise ValueError(f"{path}: unknown key {str(key)!r}{_suggestion(str(key))}")
    return values or {}


def find_checkpoint(resume: str, config: Config) -> Path:
    """The checkpoint that --resume means: a file, a run's folder, or "auto".

    "auto" is the run in --out; without --out, the newest unfinished runs/<name> of this data, method, budget and seed.
    """
    if resume == "auto" and config.out:
        return Path(config.out) / "checkpoint.pt"
    if resume == "auto":
        name = run_name(config)
        pattern = re.compile(re.escape(name) + r"(-\d+)?")
        found = [path.parent for path in Path("runs").glob("*/config.yaml") if pattern.fullmatch(path.parent.name)]
        found = [path for path in found if not (path / "summary.json").exists()]
        if not found:
            raise ValueError(f"--resume: there is no unfinished run runs/{name}: leave --resume out, or give it a path")
        return max(found, key=lambda path: (path / "config.yaml").stat().st_mtime) / "checkpoint.pt"
    path = Path(resume)
    if not path.exists():
        raise ValueError(f"--resume {resume}: there is no such file or folder")
    return path / "checkpoint.pt" if path.is_dir() else path


def _parse(argv: list[str] | None, settings: Path | None):
    parser = ArgumentParser(
        prog="python -m training.run",
        description="Train an image classifier under a budget. Later wins: defaults, --config FILE, other options.",
        exit_on_error=False,
        default_config_files=[str(settings)] if settings else None,
    )
    parser.add_argument("--config", action="config", help="YAML file of settings; only what differs from the defaults")
    parser.add_argument("--resume", nargs="?", const="auto", metavar="PATH", help=_RESUME_HELP)
    parser.add_class_arguments(Config, as_group=False)
    argv = sys.argv[1:] if argv is None else argv
    for flag, value in zip(argv, [*argv[1:], ""], strict=True):
        if flag == "--config" or flag.startswith("--config="):
            read_yaml(flag.partition("=")[2] or value)
    try:
        return parser.parse_args(argv)
    except ArgumentError as error:
        raise ValueError(_sentence(str(error))) from None


_RESUME_HELP = (
    "continue a run from its last checkpoint, with its settings: a run's folder, or nothing for the run in --out "
    "(without --out: the newest unfinished one of the same name)"
)


def _config(values) -> Config:
    return Config(**{name: getattr(values, name) for name in FIELDS})


def _sentence(message: str) -> str:
    """The parser's message, with its Python types in plain words."""
    bad = re.match(r'Parser key "(\w+)":\s+Expected an? (.+?)\. Got value: (.*)', message, re.DOTALL)
    if not bad:
        return f"{message} (--help lists what is allowed)"
    key, kind, value = bad.groups()
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind).replace("typing.Literal", "one of ")
    return f"{key}: expected {kind}, got {value}"


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key, FIELDS, 1)
    return f" (did you mean {close[0]!r}?)" if close else f"; allowed are {', '.join(FIELDS)}"
