"""Writes one split in the wanted formats, and tells what an earlier conversion has left in a folder."""

import errno
from collections.abc import Callable
from pathlib import Path

from convert.writers.arrays import Arrays
from convert.writers.exchange import ENDINGS, finish_exchange
from convert.writers.streams import Streams
from loaders.formats.manifest import FileEntry, Manifest, Split, file_entry, missing_files, read_manifest

FORMATS = {"beton": ("beton",), "dali": ("tar", "idx"), "both": ENDINGS}  # file name endings


def whole_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder that holds every file it names at its full size, else None."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file, and a data set is a folder: choose another one")
    try:
        manifest = read_manifest(folder)
    except (FileNotFoundError, ValueError):
        return None
    return None if missing_files(folder, manifest) else manifest


def finished(folder: Path, format: str) -> Manifest | None:
    """Return the manifest of a folder that already holds every split in `format`, else None.

    A conversion that was killed while it put its finished files in their places is finished first.
    """
    finish_exchange(folder)
    manifest = whole_manifest(folder)
    if manifest is None:
        return None
    wanted = [manifest.files_of(split, f".{ending}") for split in manifest.splits for ending in FORMATS[format]]
    return manifest if all(wanted) else None


def write_split(
    folder: Path,
    split: str,
    images: Arrays | Streams,
    digests: tuple[str, str],
    format: str,
    *,
    earlier: Manifest | None,
    on_samples: Callable[[int], None],
) -> Split:
    """Write one split in `format`, and return what the manifest says of it.

    Earlier files of another format stay in the manifest if they hold the same samples.

    Args:
        folder: where the files go.
        split: its name, the stem of the file names.
        images: raw images with their labels, or JPEG streams.
        digests: checksums of the images and of the labels, as in `Split`.
        format: a key of FORMATS.
        earlier: what `whole_manifest` says of the data set that this one replaces.
        on_samples: called now and then with the number of samples written since its last call.

    Raises:
        OSError, ValueError: as the writers do.
    """
    kept = _files_of_same_content(earlier, split, digests)
    paths = [folder / f"{split}.{ending}" for ending in FORMATS[format]]
    if format != "dali":
        from convert.writers.beton import write_beton, write_jpeg_beton
        from convert.writers.grey_beton import write_grey_beton

        if isinstance(images, Streams):
            write_jpeg_beton(paths[0], images, on_samples)
        elif images[0].shape[-1] == 1:
            write_grey_beton(paths[0], *images, on_samples)
        else:
            write_beton(paths[0], *images, on_samples)
    if format != "beton":
        from convert.writers.tar import write_jpeg_tar, write_tar

        if isinstance(images, Streams):
            write_jpeg_tar(paths[-2], images, on_samples)
        else:
            write_tar(paths[-2], *images, on_samples)
    num_samples = len(images) if isinstance(images, Streams) else len(images[1])
    files = {**kept, **{path.name: file_entry(path) for path in paths}}
    return Split(num_samples, *digests, dict(sorted(files.items())))


def _files_of_same_content(earlier: Manifest | None, split: str, digests: tuple[str, str]) -> dict[str, FileEntry]:
    """Return the earlier files of a split that hold the same samples."""
    known = None if earlier is None else earlier.splits.get(split)
    if known is None or (known.pixels_sha256, known.labels_sha256) != digests:
        return {}
    return known.files
