"""The manifest of a run's data set, what it promises, and whether the files hold it."""

from __future__ import annotations

from pathlib import Path

from loaders.formats.manifest import Manifest, missing_files, read_manifest
from loaders.loader import Loader
from training.coreset.file import Coreset
from training.machine.commands import command


def open_manifest(folder: str, eval_split: str | None = None) -> Manifest:
    """The manifest of a converted data set, all of whose files are in place.

    Args:
        eval_split: the split beside "train" that is needed; None where a part of the training set is held out.

    Raises:
        ValueError: the folder or a file is missing; says which command makes it.
    """
    name = Path(folder).name
    converting = {
        "cifar10": command("convert cifar"),
        "cifar100": command("convert cifar", "--dataset", "cifar100"),
        "shapes": command("convert shapes"),
        "svhn": command("convert svhn"),
        "mnist": command("convert mnist"),
        "mini_imagenet": command("convert mini_imagenet", "IMAGES", "CSVS"),
    }.get(name, command("convert folder", "IMAGES", "--root", folder))
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no data set: run `{converting}` first, or point --data to one") from None
    missing = missing_files(folder, manifest)
    if missing:
        raise ValueError(
            f"{folder} is incomplete ({', '.join(missing)} missing or of another size): run `{converting}` again"
        )
    for split in ("train", *([eval_split] if eval_split else [])):
        if split == "val" and split not in manifest.splits:
            raise ValueError(
                f"{folder} has no val split, only {', '.join(manifest.splits)}: leave --eval_split out, or hold a part "
                "of the training set out with --validation 0.1"
            )
        if split not in manifest.splits:
            others = " or --eval_split val" if "val" in manifest.splits else ""
            raise ValueError(
                f"{folder} has no {split} split, only {', '.join(manifest.splits)}: train with --validation 0.1{others}"
                ", or convert images that lie in train/<class>/* and test/<class>/* (the conversion makes a test split "
                "by --split 0.1 or --val-as-test)"
            )
        if not manifest.files_of(split, ".beton"):
            files = ", ".join(manifest.splits[split].files)
            raise ValueError(
                f"{folder} holds its {split} split in {files} only, and training reads {split}.beton: convert it with "
                "--format beton or both"
            )
    return manifest


def split_files(folder: str | Path, split: str) -> Path | list[Path]:
    """The `.beton` of a split of a whole data set, or its shards in order: what `open_dataset` takes."""
    files = [Path(folder) / name for name in read_manifest(folder).files_of(split, ".beton")]
    return files[0] if len(files) == 1 else files


def data_digest(manifest: Manifest, coreset: Coreset | None = None) -> str:
    """Tells whether two runs saw the same training images and labels; the core-set's digest follows a "/"."""
    split = manifest.splits["train"]
    return f"{split.pixels_sha256}-{split.labels_sha256}" + (f"/{coreset.digest}" if coreset else "")


def check_labels(loader: Loader, manifest: Manifest, split: str) -> None:
    """Refuse a file that does not hold what its manifest says.

    Raises:
        ValueError: another number of samples, or a label that is not one of the manifest's classes.
    """
    labels, expected = loader.dataset.labels, manifest.splits[split].num_samples
    if len(labels) != expected:
        raise ValueError(f"{split}.beton holds {len(labels):,} samples, its manifest says {expected:,}: convert again")
    if labels.min() < 0 or labels.max() >= len(manifest.classes):
        bad = int(labels.min() if labels.min() < 0 else labels.max())
        raise ValueError(
            f"{split}.beton has the label {bad}, and its manifest names {len(manifest.classes)} classes (0 to "
            f"{len(manifest.classes) - 1}): convert again"
        )
