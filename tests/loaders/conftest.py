"""Images that look like photographs to a JPEG encoder, their files, and the device on which kernels are tried."""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convert.folder import convert_folder

GPU_KERNELS = [
    f"{package}.kernels.{name}_gpu"
    for package in ("loaders", "rebar_loaders")
    for name in ("augment", "jitter", "randaugment", "resize")
]


def photograph(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """Octaves of smooth noise, the finer the weaker, as in images of nature."""
    out = np.zeros((height, width, 3))
    for octave in range(1, 7):
        noise = (rng.normal(size=(2**octave, 2**octave, 3)) * 250 / 2**octave).astype(np.float32)
        for c in range(3):
            layer = Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC)
            out[..., c] += np.asarray(layer)
    return Image.fromarray((out + 128).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder with train.beton, train.tar, train.idx: 30 JPEGs of 100 to 200 pixels in 3 classes, and `source/`."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(5)
    for label in range(3):
        (folder / "source" / f"class{label}").mkdir(parents=True)
        for i in range(10):
            image = photograph(rng, *rng.integers(100, 200, 2))
            image.save(folder / "source" / f"class{label}" / f"{i}.jpg", quality=90, progressive=i % 4 == 3)
    with contextlib.redirect_stdout(io.StringIO()):
        convert_folder(folder / "source", folder / "photos", format="both", workers=2)
    return folder / "photos"


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """A GPU; or the CPU, for which the interpreter is chosen before the kernel is imported, for these tests only."""
    pytest.importorskip("triton")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    with pytest.MonkeyPatch.context() as patch:
        for module in GPU_KERNELS:
            patch.delitem(sys.modules, module, raising=False)
        if request.param == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")
        yield torch.device("cuda", torch.cuda.current_device()) if request.param == "cuda" else torch.device("cpu")
        for module in GPU_KERNELS:
            sys.modules.pop(module, None)
