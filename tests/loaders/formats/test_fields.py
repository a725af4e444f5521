"""A `.beton` that others wrote: its fields by their names, and further ones beside the images."""

import contextlib
import copy
import io
import os
import shutil

import numpy as np
import pytest
import torch

from loaders import IndexScheduler, make_loader, open_dataset
from loaders import loader as loader_module

pytestmark = pytest.mark.ffcv
N = 20
FIELDS = {"image": "img", "label": "target", "place": "ids"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Its path, and the columns that were written."""
    from ffcv.fields import BytesField, FloatField, IntField, NDArrayField, RGBImageField, TorchTensorField
    from ffcv.writer import DatasetWriter

    rng = np.random.default_rng(0)
    columns = {
        "img": rng.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8),
        "age": rng.random(N),
        "target": np.arange(N) % 3,
        "box": rng.random((N, 2, 3), dtype=np.float32),
        "ids": -np.arange(N) * 10**12,
        "name": [np.frombuffer(bytes(range(i + 1)), np.uint8) for i in range(N)],
        "mask": torch.arange(N * 5).reshape(N, 5).to(torch.int16),
    }
    kinds = {
        "img": RGBImageField(write_mode="raw"),
        "age": FloatField(),
        "target": IntField(),
        "box": NDArrayField(np.dtype("float32"), (2, 3)),
        "ids": IntField(),
        "name": BytesField(),
        "mask": TorchTensorField(torch.int16, (5,)),
    }
    path = tmp_path_factory.mktemp("fields") / "theirs.beton"
    rows = [
        tuple(int(v[i]) if k in ("target", "ids") else float(v[i]) if k == "age" else v[i] for k, v in columns.items())
        for i in range(N)
    ]
    with contextlib.redirect_stderr(io.StringIO()):
        DatasetWriter(str(path), kinds, num_workers=1).from_indexed_dataset(rows)
    return path, columns


def test_fields_of_other_names_and_further_ones(written):
    path, columns = written
    for dataset in (first := open_dataset(path, FIELDS), copy.deepcopy(first)):
        assert np.array_equal([dataset[i][0] for i in range(N)], columns["img"])
        assert np.array_equal(dataset.labels, columns["target"])
        assert sorted(dataset.columns) == ["age", "box", "mask", "place"]
    deliver = ("labels", "age", "box", "place", "mask", "ids")
    order = IndexScheduler(N, budget=0.6, seed=2)
    loader = make_loader(path, 5, fields=FIELDS, deliver=deliver, scheduler=order)
    labels, age, box, place, mask, ids = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert ids.tolist() == order.plan(0).ids.tolist()
    assert labels.tolist() == columns["target"][ids].tolist()
    assert np.array_equal(age, columns["age"][ids])
    assert np.array_equal(box, columns["box"][ids])
    assert np.array_equal(place, columns["ids"][ids])
    assert torch.equal(mask, columns["mask"][ids])
    assert (age.dtype, box.dtype, mask.dtype) == (torch.float64, torch.float32, torch.int16)


def test_further_fields_are_those_of_samples_that_a_function_reordered(written):
    path, columns = written

    def backwards(batch, key):
        return batch._replace(images=batch.images.flip(0), labels=batch.labels.flip(0), ids=batch.ids.flip(0))

    loader = make_loader(path, 5, fields=FIELDS, deliver=("ids", "age", "place"), batch_transform=backwards)
    ids, age, place = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert np.array_equal(age, columns["age"][ids])
    assert np.array_equal(place, columns["ids"][ids])


def test_ids_that_a_function_leaves_alone_are_not_read_back(written, monkeypatch):
    """From a GPU, that would wait in each batch."""
    path, columns = written
    asked = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: asked.append(tensor) or tensor)
    for transform, times in ((lambda batch, key: batch._replace(images=-batch.images), 0), (_copied_ids, 4)):
        loader = make_loader(path, 5, fields=FIELDS, deliver=("ids", "age"), batch_transform=transform)
        ids, age = (torch.cat(parts) for parts in zip(*loader, strict=True))
        assert np.array_equal(age, columns["age"][ids])
        assert len(asked) == times


def _copied_ids(batch, key):
    return batch._replace(ids=batch.ids.clone())


def test_a_name_of_two_fields_is_one_sentence(written):
    path, columns = written
    theirs = {"image": "img", "label": "target"}
    with pytest.raises(
        ValueError, match=r"asks for 'ids', a field of the batch and one of .* fields=\{'my_ids': 'ids'\}"
    ):
        make_loader(path, 5, fields=theirs, deliver=("images", "ids"))
    make_loader(path, 5, fields=theirs, deliver=("images", "labels"))
    with pytest.raises(ValueError, match=r"gives two of its fields the name 'age': choose another name, or rename"):
        open_dataset(path, {**theirs, "age": "ids"})
    swapped = open_dataset(path, {**theirs, "age": "ids", "ids": "age"})
    assert np.array_equal(swapped.columns["ids"].take(np.arange(N)), columns["age"])


def test_a_further_field_of_a_file_that_was_cut_is_one_sentence(written, tmp_path):
    """And no SIGBUS. It is cut behind the images of a batch, by a backend that reads nothing ahead."""
    path = shutil.copy(written[0], tmp_path / "x.beton")

    def cut(batch, key):
        os.truncate(path, 100)
        return batch

    options = {"fields": FIELDS, "deliver": ("ids", "box"), "backend": "reference", "batch_transform": cut}
    with pytest.raises(ValueError, match=r"x\.beton was cut from [0-9,]+ to 100 bytes"):
        next(iter(make_loader(path, 5, **options)))


def test_further_fields_go_to_a_gpu_through_page_locked_memory(written, monkeypatch):
    """From other memory, a copy waits in each batch for all that the GPU has to do."""
    path, columns = written
    copied = []
    monkeypatch.setattr(loader_module, "sent", lambda host, device: copied.append(device.type) or host)
    loader = make_loader(path, 5, fields=FIELDS, deliver=("images", "age"), sequential=True)
    assert np.array_equal(torch.cat([age for _, age in loader]), columns["age"])
    assert copied == ["cpu"] * 4


def test_what_a_file_does_not_have_is_one_sentence(written, tmp_path):
    path, _ = written
    with pytest.raises(ValueError, match=r"needs one field 'image' .* fields \['img', .* says what they are called"):
        open_dataset(path)
    with pytest.raises(ValueError, match="fields maps 'label' to 'class', and the file has the fields"):
        open_dataset(path, {**FIELDS, "label": "class"})
    with pytest.raises(ValueError, match=r"deliver names .* of images, .*, age, box, place, mask, got \('name',\)"):
        make_loader(path, 5, fields=FIELDS, deliver=("name",))
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"fields are those of a \.beton"):
        open_dataset(tmp_path / "x.tar", FIELDS)


def test_an_array_outside_the_file_is_refused(written, tmp_path):
    path, _ = written
    content, dataset = np.fromfile(path, np.uint8), open_dataset(path, FIELDS)
    pointer = int(dataset.columns["box"].starts[3]).to_bytes(8, "little")
    at = content.tobytes().index(pointer)
    content[at : at + 8] = 255
    content.tofile(tmp_path / "damaged.beton")
    with pytest.raises(ValueError, match="an array of sample 3 lies outside its data; write it again"):
        open_dataset(tmp_path / "damaged.beton", FIELDS)
