"""The two files of a core-set: the same bytes each time, and one sentence for whatever is wrong with them."""

import json
import pickle

import numpy as np
import pytest

from training.coreset.file import Cost, json_path, read_coreset, read_manifest, write_coreset

DATA = {"name": "shapes", "num_samples": 100, "digest": "abc"}
COST = Cost(300, 200, 3e9, 4e9, 1.5)
IDS = np.arange(0, 60, 3)
WEIGHTS = np.linspace(0.5, 1.5, 20, dtype=np.float32)


def write(path, ids=IDS, weights=WEIGHTS, data=DATA):
    write_coreset(path, ids, weights, {"method": "el2n", "fraction": 0.2}, data, {"disc": 9, "ring": 11}, COST)
    return path


def refused(path) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        read_coreset(str(path), "abc", 100)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_comes_back_as_it_was_written(tmp_path):
    coreset = read_coreset(str(write(tmp_path / "a.npz")), "abc", 100)
    np.testing.assert_array_equal(coreset.ids, IDS)
    np.testing.assert_array_equal(coreset.weights, WEIGHTS)
    assert (coreset.ids.dtype, coreset.weights.dtype) == (np.int64, np.float32)
    assert (coreset.method, coreset.cost) == ("el2n", COST)
    manifest = json.loads((tmp_path / "a.json").read_text())
    assert manifest["sha256"] == coreset.digest
    assert manifest["cost"]["flops"] == 7e9
    assert (manifest["num_ids"], manifest["ids_per_class"]) == (20, {"disc": 9, "ring": 11})
    assert not list(tmp_path.glob(".*.tmp"))


def test_equal_weights_are_none(tmp_path):
    assert read_coreset(str(write(tmp_path / "a.npz", weights=np.ones(20, np.float32))), "abc", 100).weights is None


def test_the_same_bytes_each_time(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.npz")
    for ending in ("npz", "json"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_other_ids_or_weights_have_another_digest(tmp_path):
    others = (IDS, WEIGHTS), (IDS + 1, WEIGHTS), (IDS, WEIGHTS[::-1])
    paths = [write(tmp_path / f"{number}.npz", *other) for number, other in enumerate(others)]
    assert len({read_coreset(str(path), "abc", 100).digest for path in paths}) == 3


def test_a_file_that_is_missing_or_misnamed(tmp_path):
    assert "cannot read the core-set" in refused(tmp_path / "a.npz")
    write(tmp_path / "a.npz")
    assert "ends in .npz" in refused(tmp_path / "a.json")
    json_path(tmp_path / "a.npz").unlink()
    assert "a.json (No such file" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("size", [0, 30, 200, -30])
def test_a_file_cut_short(tmp_path, size):
    path = write(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:size])
    assert "a.npz is not a core-set (cut short" in refused(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"options": 3}', "null", "[" * 99999])
def test_a_manifest_of_another_kind(tmp_path, text):
    path = write(tmp_path / "a.npz")
    json_path(path).write_text(text)
    assert "a.json is not a core-set's manifest" in refused(path)
    assert read_manifest(path) == {}


def test_another_version(tmp_path):
    path = write(tmp_path / "a.npz")
    json_path(path).write_text(json_path(path).read_text().replace('"version": 1', '"version": 2'))
    assert "of version 2, needed" in refused(path)


def test_other_data(tmp_path):
    path = write(tmp_path / "a.npz", data={**DATA, "name": "cifar10", "digest": "x"})
    assert "is of other data (cifar10) than --data holds" in refused(path)


@pytest.mark.parametrize("ids", [IDS - 1, IDS + 60, IDS[::-1], np.repeat(IDS[:10], 2)])
def test_ids_that_are_outside_or_out_of_order(tmp_path, ids):
    assert "ids that are not ascending or not in 0..99" in refused(write(tmp_path / "a.npz", ids=ids))


def test_arrays_that_do_not_fit(tmp_path):
    for ids, weights in ((IDS[:0], WEIGHTS[:0]), (IDS, WEIGHTS[1:]), (IDS[:, None], WEIGHTS)):
        assert "needed: int64 [M >= 1] and float32 [M]" in refused(write(tmp_path / "a.npz", ids=ids, weights=weights))


def test_contents_that_the_manifest_does_not_know(tmp_path):
    path = write(tmp_path / "a.npz")
    np.savez(path, ids=IDS + 1, weights=WEIGHTS)
    assert "does not hold what its manifest says" in refused(path)
    np.savez(path, ids=IDS)
    assert "is not a core-set" in refused(path)


def test_no_pickle_is_opened(tmp_path):
    path = write(tmp_path / "a.npz")
    np.savez(path, ids=np.array([{1}]), weights=WEIGHTS)
    assert "is not a core-set" in refused(path)
    path.write_bytes(pickle.dumps({"ids": IDS}))
    assert "is not a core-set" in refused(path)


@pytest.mark.parametrize("losses", [np.zeros(19, np.float32), np.full(20, np.nan, np.float32)])
def test_losses_that_do_not_fit_are_refused(tmp_path, losses):
    path = tmp_path / "a.npz"
    data = {"name": "shapes", "num_samples": 100, "digest": "abc"}
    write_coreset(path, IDS, WEIGHTS, {"method": "rho"}, data, {"disc": 20}, COST, losses)
    with pytest.raises(
        ValueError, match=r"holds losses float32 \[\d+\], needed: finite float32 \[20\]: choose it again"
    ):
        read_coreset(str(path), "abc", 100)
