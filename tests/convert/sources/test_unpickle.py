import os
import pickle

import numpy as np
import pytest

from convert.sources.unpickle import read_plain_pickle


class Evil:
    """Unpickling this would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2, 300, 70_000, -1], "b": ("x", "y", None, True), "c": {}},
        [],
        {"empty": (), "one": (1,), "three": (1, 2, 3), "nested": [[1], [2, [3]]]},
        "text",
    ],
)
def test_plain_values(value, protocol):
    assert read_plain_pickle(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_uint8_arrays(protocol, order):
    array = np.asarray(np.arange(24, dtype=np.uint8).reshape(4, 6), order=order)
    value = read_plain_pickle(pickle.dumps({b"data": array, b"again": array}, protocol))
    np.testing.assert_array_equal(value[b"data"], array)
    np.testing.assert_array_equal(value[b"again"], array)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_program_is_refused_and_not_run(tmp_path, protocol):
    trace = tmp_path / "was-here"
    content = pickle.dumps({"data": Evil(trace)}, protocol)
    with pytest.raises(ValueError, match="refused, only plain data is read"):
        read_plain_pickle(content)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cbuiltins\neval\nU\x031+1\x85R.",  # a call of eval
        b"\x80\x02cnumpy\nload\nU\x01x\x85R.",  # another name of NumPy
        b"\x80\x02(U\x01xios\nsystem\n.",  # INST
        b"\x80\x02cnumpy\nndarray\nK\x01\x85R.",  # an allowed name in a place where it is not allowed
        b"\x80\x02cnumpy\ndtype\nK\x01\x85\x81.",  # NEWOBJ
        b"\x80\x02U\x01x}b.",  # a state for a string
    ],
)
def test_other_names_and_opcodes_are_refused(content):
    with pytest.raises(ValueError, match="refused, only plain data is read"):
        read_plain_pickle(content)


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match="another type than uint8"):
        read_plain_pickle(pickle.dumps(np.arange(3, dtype=np.int64), 4))


def test_every_truncation_is_noticed():
    content = pickle.dumps({"data": np.arange(12, dtype=np.uint8), "labels": [1, 2, 3]}, 4)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"."):
            read_plain_pickle(content[:length])


@pytest.mark.parametrize(
    "content", [b"\x80\x02h\x05.", b"\x80\x02e.", b"\x80\x02K\x01K\x02.", b"\x80\x02]K\x01u.", b"."]
)
def test_damage_is_a_value_error(content):
    with pytest.raises(ValueError, match="damaged"):
        read_plain_pickle(content)
