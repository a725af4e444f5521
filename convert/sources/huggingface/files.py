"""Finds the Arrow or Parquet files of each split in a folder that the library `datasets`, or a hub, has written."""

import re
from pathlib import Path
from typing import Any

from loaders.formats.json_file import read_json
from loaders.formats.manifest import is_plain_name
from loaders.formats.sentence import one_line

_VALIDATION = {"validation", "valid", "dev", "val"}  # names of the split that is called val here
_KNOWN = {"train", "test", *_VALIDATION}
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}.*")  # such as train-00000-of-00001


def files_by_split(path: Path) -> dict[str, list[Path]]:
    """The files of each split, in the order of their rows.

    Args:
        path: what `save_to_disk` has written, of one data set (its split is train) or of several splits; or a folder of
            Parquet or Arrow files as they come from a hub: train-00000-of-00001.parquet, or train/0000.parquet.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no such files, or those of several configurations; or what describes them is damaged.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist: give a folder of Parquet or Arrow files")
    if (path / "dataset_dict.json").is_file():
        splits = _entry(path / "dataset_dict.json", "splits")
        names = [_plain(split, path / "dataset_dict.json") for split in splits]
        return {_called(name): _saved(path / name) for name in names}
    if (path / "state.json").is_file():
        return {"train": _saved(path)}
    return _exported(path)


def _saved(folder: Path) -> list[Path]:
    """The files of one split that `save_to_disk` has written."""
    state = folder / "state.json"
    if not state.is_file():
        raise ValueError(f"{folder} lacks its state.json: save the data set again with save_to_disk")
    content = read_json(state)
    if isinstance(content, dict) and any(content.get(key) for key in ("_indices_data_files", "_indices_files")):
        raise ValueError(f"{folder} holds a selection of rows apart from them: call flatten_indices(), then save again")
    names = [file.get("filename") if isinstance(file, dict) else None for file in _entry(state, "_data_files")]
    return [folder / _plain(name, state) for name in names]


def _entry(path: Path, key: str) -> list[Any]:
    content = read_json(path)
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list) or not value:
        raise ValueError(f"{path} names no {key}: save the data set again with save_to_disk")
    return value


def _plain(name: object, where: Path) -> str:
    if not isinstance(name, str) or not is_plain_name(name):
        raise ValueError(f"{where} names {one_line(repr(name), 80)}, allowed is the plain name of what lies beside it")
    return name


def _exported(path: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    configurations: set[Path] = set()
    for ending in ("parquet", "arrow"):
        for file in sorted(path.rglob(f"*.{ending}")):
            split, configuration = _split_of(file)
            found.setdefault(split, []).append(file)
            configurations.add(configuration)
        if found:  # a cache holds the same rows as both
            break
    if not found:
        raise ValueError(f"{path} holds no Parquet or Arrow files, needed: such as train-00000-of-00001.parquet")
    if len(configurations) > 1:
        names = ", ".join(sorted(str(folder.relative_to(path)) for folder in configurations))
        raise ValueError(f"{path} holds several configurations, in the folders {one_line(names)}: give one of them")
    return {split: found[split] for split in sorted(found, key=lambda split: (split != "train", split))}


def _split_of(file: Path) -> tuple[str, Path]:
    """The split of a file, from its name or its folder's, and the folder of its configuration."""
    shard = _SHARD.fullmatch(file.stem)
    name = shard[1] if shard else file.stem
    name = name.rpartition("-")[2] if name.rpartition("-")[2] in _KNOWN else name  # such as cifar10-train
    if name in _KNOWN:
        return _called(name), file.parent
    if file.parent.name.removeprefix("partial-") in _KNOWN:
        return _called(file.parent.name.removeprefix("partial-")), file.parent.parent
    if shard is not None:
        return name, file.parent
    words = {_called(word) for word in re.split(r"[-_. ]+", file.stem.lower()) if word in _KNOWN}
    return (words.pop() if len(words) == 1 else "train"), file.parent  # such as cifar10_test


def _called(split: str) -> str:
    return "val" if split in _VALIDATION else split
