"""A training set that lies in shards is trained on as one in a single file."""

import dataclasses

import pytest
import torch

from convert.writers.beton import write_beton
from loaders.formats.manifest import file_entry, read_manifest, write_manifest
from loaders.formats.open import open_dataset
from training import checkpoint
from training.data.manifest import open_manifest, split_files
from training.run import main


@pytest.fixture(scope="module")
def shards(shapes, tmp_path_factory):
    """The data set `shapes` in three files a split."""
    folder, manifest, splits = tmp_path_factory.mktemp("shards"), read_manifest(shapes), {}
    for name, split in manifest.splits.items():
        (folder / name).mkdir()
        dataset, files = open_dataset(shapes / f"{name}.beton"), {}
        for number in range(3):
            path = folder / name / f"part-0000{number + 1}-of-00003.beton"
            first, last = (split.num_samples * i // 3 for i in (number, number + 1))
            images = dataset.data[dataset.offsets[first] :][: (last - first) * 3072].reshape(-1, 32, 32, 3)
            write_beton(path, images, dataset.labels[first:last])
            files[f"{name}/{path.name}"] = file_entry(path)
        splits[name] = dataclasses.replace(split, files=files)
    write_manifest(folder, dataclasses.replace(manifest, splits=splits))
    return folder


@pytest.mark.slow
def test_the_weights_are_those_of_one_file(shapes, shards, quick_args, tmp_path):
    weights = []
    for name, data in (("one", shapes), ("many", shards)):
        assert main(quick_args(data=data, out=tmp_path / name, method="p-sgd", budget=0.5)) == 0
        weights.append(checkpoint.load(tmp_path / name / "checkpoint.pt")["model"])
    assert all(torch.equal(one, weights[1][key]) for key, one in weights[0].items())


def test_a_missing_shard_is_named(shards, tmp_path):
    assert [path.name for path in split_files(shards, "test")] == [f"part-0000{i}-of-00003.beton" for i in (1, 2, 3)]
    write_manifest(tmp_path, read_manifest(shards))
    (tmp_path / "train").symlink_to(shards / "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match=r"is incomplete \(test/part-00001-of-00003\.beton, .* missing"):
        open_manifest(str(tmp_path))
