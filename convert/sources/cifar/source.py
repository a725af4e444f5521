"""Reads CIFAR from a path (a published archive, its unpacked folder, an image folder) and verifies it.

An archive is compared with its published checksum before anything in it is read, and is not unpacked on the disk.
"""

from dataclasses import dataclass
from pathlib import Path

from convert.sources.checksum import file_md5
from convert.sources.cifar.image_folder import read_image_folder
from convert.sources.cifar.layouts import Layout, layouts
from convert.sources.cifar.published import Published
from convert.sources.tar_file import read_members
from convert.writers.arrays import Arrays
from loaders.formats.claims import read_limited
from loaders.formats.manifest import labels_digest, pixels_digest

MAX_FILE_BYTES = 1 << 28  # of one file, unpacked; the largest published one has 154 MB


@dataclass(frozen=True)
class Content:
    """The decoded splits of a source, where they came from, and whether they matched published checksums."""

    splits: dict[str, Arrays]
    source: str
    verified: bool
    note: str = ""  # why it is not verified


def read_source(path: Path, published: Published) -> Content:
    """Decode and verify a copy of CIFAR.

    Args:
        path: a published archive, its unpacked folder (or the folder around it), or an image folder
            `train/<class>/*`, `test/<class>/*` of 32 x 32 images.
        published: what it should hold.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the archive or a pickle has another checksum than the published one, a file is missing or damaged,
            or the pixels or labels are others than those published.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give --source an archive or a folder of {published.title}")
    if (path / "train").is_dir():
        splits = read_image_folder(path, published.classes)
        note = "an image folder keeps neither the published order nor, as JPEG, the published pixels"
        return Content(splits, f"image folder {path.name}", False, note)
    if path.is_file():
        _check_archive(path, published)
    known = layouts(published)
    wanted = {name for layout in known for name in layout.all_files}
    contents = _read_folder(path, wanted) if path.is_dir() else read_members(path, wanted, MAX_FILE_BYTES)
    layout = _layout_of(contents, known, path, published)
    try:
        splits = {
            split: layout.decode({name: contents[name] for name in names}) for split, names in layout.files.items()
        }
    except ValueError as error:
        raise ValueError(f"{path} is damaged or not {published.title}: {error}; delete it and get it again") from None
    for split, arrays in splits.items():
        _check_split(path, split, arrays, published)
    verified = bool(published.pixels_sha256) or path.is_file() or layout.name == "python"
    note = "" if verified else f"no checksum of the unpacked binary {published.title} is published"
    return Content(splits, path.name, verified, note)


def _check_archive(path: Path, published: Published) -> None:
    got = file_md5(path)
    if got not in published.archive_md5.values():
        listed = ", ".join(f"{md5} ({layout})" for layout, md5 in published.archive_md5.items())
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is cut short, damaged or not {published.title}: its MD5 is {got}, "
            f"published are {listed}; delete it and get it again"
        )


def _read_folder(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """Return the contents of the wanted files in a folder or, when it has none, in one folder inside it, by name."""
    for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
        found = {name: folder / name for name in wanted if (folder / name).is_file()}
        if found:
            return {name: read_limited(file, MAX_FILE_BYTES) for name, file in found.items()}
    return {}


def _layout_of(contents: dict[str, bytes], known: tuple[Layout, ...], path: Path, published: Published) -> Layout:
    """Return the layout whose files are all there."""
    lacking = {}
    for layout in known:
        lacking[layout.name] = [name for name in layout.all_files if name not in contents]
        if not lacking[layout.name]:
            return layout
    closest = min(lacking, key=lambda name: len(lacking[name]))
    raise ValueError(
        f"{path} is not {published.title}, needed: train/<class>/* or the files of a published archive "
        f"(of the {closest} one it lacks {', '.join(lacking[closest])})"
    )


def _check_split(path: Path, split: str, arrays: Arrays, published: Published) -> None:
    """Compare the number of samples, the range of the labels and, where published, the checksums of both."""
    images, labels = arrays
    expected, num_classes = published.num_samples[split], len(published.classes)
    if len(images) != expected or len(labels) != expected:
        raise ValueError(
            f"{path} has {len(images):,} images and {len(labels):,} labels in {split}, needed: {expected:,} of each"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"{path} has labels {labels.min()} to {labels.max()} in {split}, allowed: 0 to {num_classes - 1}"
        )
    for what, digest, digests in (
        ("pixels", pixels_digest(images), published.pixels_sha256),
        ("labels", labels_digest(labels, num_classes), published.labels_sha256),
    ):
        if split in digests and digest != digests[split]:
            raise ValueError(
                f"{path} holds other {what} than {published.title} in {split}: their SHA-256 is {digest}, "
                f"the published one is {digests[split]}; delete it and get it again"
            )
