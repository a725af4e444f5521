"""`python -m training.coreset`: chooses the part of a training set that `training.run --coreset` trains on."""

import time

import numpy as np
from rich.console import Console

from loaders.formats.manifest import Manifest
from loaders.formats.open import open_dataset
from loaders.order.rng import CORESET, fold_in
from loaders.order.rounding import floor_fraction
from training.coreset.choose import hardest
from training.coreset.craig import craig, require_small_classes
from training.coreset.file import Cost, read_coreset, read_manifest, write_coreset
from training.coreset.options import Options, parse_options
from training.coreset.proxy import ask, train_proxy
from training.coreset.scores import el2n, entropy, gradients, grand, loss, margin
from training.data.manifest import data_digest, open_manifest, split_files
from training.data.validation import held_out
from training.machine.commands import command
from training.machine.exit_status import exit_status
from training.machine.memory import keep_freed_memory

SCORES = {"el2n": el2n, "grand": grand, "entropy": entropy, "margin": margin, "craig": gradients, "rho": loss}


def main(argv: list[str] | None = None) -> int:
    """Run from a command line; returns the exit status: 0 done, 2 a mistake in the input, 130 stopped by Ctrl-C."""
    keep_freed_memory()
    return exit_status(lambda: make_coreset(parse_options(argv), Console(highlight=False, soft_wrap=True)))


def make_coreset(options: Options, console: Console) -> None:
    """Choose and write; does nothing where the same core-set is there already.

    Raises:
        ValueError, OSError: one sentence on what the options or files lack.
    """
    manifest, path = open_manifest(options.data), options.path
    if _is_there(options, manifest):
        console.print(f"{path} is already there; delete it to choose again")
        return
    labels_N = open_dataset(split_files(options.data, "train")).labels
    ids, weights, losses, cost = choose(options, labels_N, console)
    counts = np.bincount(labels_N[ids], minlength=len(manifest.classes)).tolist()
    per_class = dict(zip(manifest.classes, counts, strict=True))
    split = manifest.splits["train"]
    data = {"name": manifest.name, "num_samples": split.num_samples, "digest": data_digest(manifest)}
    write_coreset(path, ids, weights, options.deciding(), data, per_class, cost, losses)
    words = ["--data", options.data, "--budget", f"{options.fraction:g}", "--coreset", str(path)]
    words += ["--method", "rho-loss"] if options.method == "rho" else []
    for line in (
        f"{path}: {len(ids):,} of {split.num_samples:,} samples by {options.method}, "
        f"{min(counts):,} to {max(counts):,} of a class",
        f"choosing took {cost.flops / 1e12:,.2f} TFLOP and {cost.seconds:,.1f} s; a run on it is charged with both",
        f"train on it with: {command('train', *words)}",
    ):
        console.print(line)


def choose(
    options: Options, labels_N: np.ndarray, console: Console
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Cost]:
    """The ids, int64 [M] ascending, their weights, float32 [M] with mean one, their losses for rho, and what choosing
    took."""
    key = fold_in(options.seed, CORESET)
    total = floor_fraction(len(labels_N), options.fraction)
    if total < 1:
        raise ValueError(f"a fraction of {options.fraction:g} of {len(labels_N)} samples is none: raise the fraction")
    if options.method == "rho":
        ids = held_out(labels_N, options.fraction)  # just those that the network's own run holds out
        losses, cost = score(options, len(ids), console, ids)
        return ids, np.ones(len(ids), np.float32), losses / np.float32(options.num_networks), cost
    if options.method == "craig":
        require_small_classes(labels_N)
    scores, cost = score(options, len(labels_N), console)
    start = time.perf_counter()
    if options.method == "craig":
        ids, weights = craig(scores, labels_N, total, key)
    else:
        ids = hardest(scores, options.fraction, options.offset, key, labels_N if options.balanced else None)
        weights = np.ones(len(ids), np.float32)
    return ids, weights, None, cost + Cost(seconds=time.perf_counter() - start)


def score(
    options: Options, num_samples: int, console: Console, ids: np.ndarray | None = None
) -> tuple[np.ndarray, Cost]:
    """The sum of the networks' scores, [N] (for craig [N, C]), all equal without a network; and what it took.

    Args:
        ids: the N samples that are scored; None is the whole training set.
    """
    total, cost = np.zeros(num_samples, np.float32), Cost()
    for number in range(options.num_networks):
        what = f"network {number + 1} of {options.num_networks}"
        with console.status(f"training {what}") as status:
            proxy, training = train_proxy(
                options.proxy(number),
                lambda done, what=what, status=status: status.update(f"{what}: {done} of {options.num_epochs} epochs"),
                is_asked=options.method in SCORES,
            )
            if options.method in SCORES:
                scores, asking = ask(proxy, SCORES[options.method], ids)
            else:
                scores, asking = proxy.forgotten.counts(never_learned=options.num_epochs).numpy(), Cost()
        total = total + scores if number else scores
        cost = cost + training + asking
        console.print(f"{what}: {options.num_epochs} epochs and its scores in {(training + asking).seconds:,.1f} s")
    return total, cost


def _is_there(options: Options, manifest: Manifest) -> bool:
    """Whether the same choice from the same data is there, whole.

    Raises:
        ValueError: another core-set is there.
    """
    path, deciding = options.path, options.deciding()
    if not path.exists():
        return False
    found = read_manifest(path).get("options", {})
    changes = [
        f"{name} was {found.get(name)!r} and is now {deciding[name]!r}"
        for name in deciding
        if found.get(name) != deciding[name]
    ]
    if changes:
        raise ValueError(f"{path} is there already, but {', '.join(changes)}: choose another --out, or delete it")
    read_coreset(str(path), data_digest(manifest), manifest.splits["train"].num_samples)
    return True
