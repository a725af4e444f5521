"""Read many files as one data set, whose ids run through them in order.

A range of addresses is reserved, and each file has its place in it. So there is one array of bytes with one offset for
each image, as in a single file, and whatever reads a `DatasetFile` reads shards. The tables of every file are read when
the set is opened; its images are mapped when a plan first touches the file, and their pages are read by the system
when they are looked at.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from .column import Column
from .dataset import DatasetFile, check_unchanged

_TABLES = ("offsets", "sizes", "heights", "widths", "is_jpeg", "labels")
_NOTHING = np.empty(0, np.uint8)
_LOOK_AGAIN_S = 0.05  # a file is looked at for changes no more often than this
_FIXED = 0x10  # MAP_FIXED on Linux
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (*[ctypes.c_void_p, ctypes.c_size_t], *[ctypes.c_int] * 3, ctypes.c_long)


@dataclass(frozen=True, eq=False)
class Shards(DatasetFile):
    """Many files as one `DatasetFile`.

    Attributes:
        path: what messages call the set: the folder of the files.
        data: uint8, the reserved addresses. Those of a file may be read once `touch` was asked for one of its samples.
        files: the paths, in the order of the ids.
        ends: int64 [F], the id behind the last sample of each file.
        places: int64 [F], where each file begins in `data`.
        lengths: int64 [F], bytes of each file.
        inodes: device and number of each file when it was opened.
        state: the two values that change: which files are mapped (bool [F]), and when each was last looked at (float64
            [F], seconds).
    """

    files: tuple[str, ...] = field(default=(), repr=False)
    ends: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    places: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    inodes: tuple[tuple[int, int] | None, ...] = field(default=(), repr=False)
    state: tuple[np.ndarray, np.ndarray] = field(default=(np.empty(0), np.empty(0)), repr=False)

    @property
    def images(self) -> np.ndarray | None:
        """As of one file; of several None, since their images do not lie back to back."""
        self.touch()
        return super().images

    def paths(self) -> tuple[str, ...]:
        """The files, in the order of the ids."""
        return self.files

    def file_of(self, sample: int) -> str:
        """The path of the file that holds a sample."""
        return self.files[int(np.searchsorted(self.ends, sample, side="right"))]

    def bytes(self, sample: int) -> np.ndarray:
        """As of one file; maps the file that holds the sample."""
        if 0 <= sample < self.num_samples:
            self.touch(np.array([sample]))
        return super().bytes(sample)

    def touch(self, ids: np.ndarray | None = None) -> None:
        """Map the files that hold these samples, int64 [K]; all files where none are named.

        Raises:
            ValueError: a file was replaced or cut since the set was opened.
            OSError: a file is gone, or cannot be read.
        """
        mapped, _ = self.state
        if mapped.all():
            return
        for index in self._touched(ids):
            if not mapped[index]:
                self._map(index)
                mapped[index] = True

    def check_in_place(self, ids: np.ndarray | None = None) -> None:
        """As of one file, for the mapped files that hold these samples, int64 [K], or for all that are mapped."""
        mapped, looked_at = self.state
        touched, now = self._touched(ids), time.monotonic()
        due = touched[mapped[touched] & (now - looked_at[touched] > _LOOK_AGAIN_S)]
        for index in due:
            check_unchanged(self.files[index], self.inodes[index], int(self.lengths[index]), self.absolute[index])
        looked_at[due] = now

    def _touched(self, ids: np.ndarray | None) -> np.ndarray:
        if ids is None:
            return np.arange(len(self.files))
        return np.unique(np.searchsorted(self.ends, ids, side="right"))

    def _map(self, index: int) -> None:
        """Put a file in its place. Where two threads do so at once, one map replaces an equal one."""
        path, length = self.files[index], int(self.lengths[index])
        descriptor = os.open(self.absolute[index], os.O_RDONLY)
        try:
            check_unchanged(path, self.inodes[index], length, self.absolute[index])
            place = self.data.ctypes.data + int(self.places[index])
            found = _libc.mmap(place, length, mmap.PROT_READ, mmap.MAP_SHARED | _FIXED, descriptor, 0)
            if found != place:
                raise OSError(ctypes.get_errno(), f"{path} cannot be mapped: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(descriptor)


def join_shards(opened: Iterable[DatasetFile]) -> Shards:
    """Put open files together; each is dropped when its tables are copied.

    Raises:
        ValueError: some hold raw pixels and others PNG, or some grey images and others colour, which no backend reads
            as one set.
    """
    files, kinds, channels = list[str](), list[str](), list[int]()
    lengths, inodes = list[int](), list[tuple[int, int] | None]()
    tables: dict[str, list[np.ndarray]] = {name: [] for name in _TABLES}
    columns, fields, places, end = list[dict[str, Column]](), None, list[int](), 0
    for file in opened:
        files.append(file.path)
        kinds.append(file.kind)
        channels.append(file.channels)
        lengths.append(len(file.data))
        inodes.append(file.inode)
        places.append(end)
        for name in _TABLES:
            tables[name].append(getattr(file, name))
        tables["offsets"][-1] = file.offsets + end
        fields = file.fields
        # Without their file, whose descriptor is closed with it.
        columns.append({n: replace(c, data=_NOTHING, starts=c.starts + end) for n, c in file.columns.items()})
        end += -(-len(file.data) // mmap.PAGESIZE) * mmap.PAGESIZE
    ends = np.cumsum([len(labels) for labels in tables["labels"]])
    # No page can be read until a file is mapped there: reading an unmapped shard is a crash, not zeros as pixels.
    region = mmap.mmap(-1, end, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
    shards = Shards(
        path=_name(files),
        kind=_joined_kind(files, kinds),
        data=np.frombuffer(region, np.uint8),
        offsets=np.concatenate(tables.pop("offsets")),
        sizes=np.concatenate(tables.pop("sizes")),
        heights=np.concatenate(tables.pop("heights")),
        widths=np.concatenate(tables.pop("widths")),
        is_jpeg=np.concatenate(tables.pop("is_jpeg")),
        labels=np.concatenate(tables.pop("labels")),
        fields=fields,
        channels=_joined_channels(files, channels),
        files=tuple(files),
        ends=ends,
        places=np.array(places),
        lengths=np.array(lengths),
        inodes=tuple(inodes),
        state=(np.zeros(len(files), np.bool_), np.full(len(files), -np.inf)),
    )
    return replace(shards, columns=_joined_columns(shards, columns))


def _name(files: list[str]) -> str:
    folder = os.path.dirname(files[0])
    if all(os.path.dirname(file) == folder for file in files):
        return folder or "."
    return f"{files[0]} and {len(files) - 1} more"


def _joined_kind(files: list[str], kinds: list[str]) -> str:
    found = set(kinds)
    if "png" in found and found & {"raw", "mixed"}:
        other = next(file for file, kind in zip(files, kinds, strict=True) if (kind == "png") != (kinds[0] == "png"))
        raise ValueError(f"of {files[0]} and {other} one holds PNG, the other raw pixels: convert them to one format")
    return kinds[0] if len(found) == 1 else "png" if "png" in found else "mixed"


def _joined_channels(files: list[str], channels: list[int]) -> int:
    for file, found in zip(files, channels, strict=True):
        if found != channels[0]:
            raise ValueError(
                f"the images of {files[0]} have {channels[0]} channel{'s' * (channels[0] > 1)}, those of {file} have "
                f"{found}: convert them to one number (--channels)"
            )
    return channels[0]


def _joined_columns(shards: Shards, columns: list[dict[str, Column]]) -> dict[str, Column]:
    """The further fields that are the same in every file."""
    joined: dict[str, Column] = {}
    for name, first in columns[0].items():
        of_files = [one[name] for one in columns if name in one and one[name].is_like(first)]
        if len(of_files) == len(columns):
            starts = np.concatenate([column.starts for column in of_files])
            joined[name] = replace(first, data=shards.data, starts=starts, touch=shards.touch)
    return joined
