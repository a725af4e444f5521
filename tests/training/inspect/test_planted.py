"""Wrong labels and near duplicates that were planted are found, and seen in a real browser."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from training.inspect.command import main

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def looked(planted, tmp_path_factory):
    """The folder of the page and the table."""
    out = tmp_path_factory.mktemp("looked")
    assert main([planted.run, f"--out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def scores(looked):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra rebar-loaders[study]")
    table = parquet.read_table(looked / "scores.parquet")
    return {name: table[name].to_numpy() for name in table.column_names}


@pytest.fixture(scope="module")
def page(looked):
    return (looked / "samples.html").read_text(encoding="utf-8")


def ids_of(page: str, key: str) -> list[int]:
    """What a list of the page shows."""
    section = re.search(rf'<section id="{key}">.*?</section>', page, re.DOTALL)[0]
    return [int(text) for text in re.findall(r"</b><small>(\d+)</small>", section)]


def test_planted_wrong_labels_are_the_likeliest_wrong_ones(planted, scores, page):
    wrong = np.append(planted.wrong, planted.swapped[1])
    ranked = np.argsort(-scores["mislabelled"], kind="stable")
    assert np.isin(ranked[: len(wrong) // 2], wrong).all(), "precision of the first half as many as were planted"
    found = scores["mislabelled"] > 0
    assert found[wrong].mean() > 0.7, "recall of the whole list"
    assert np.isin(np.flatnonzero(found), wrong).mean() > 0.8, "precision of the whole list"
    assert ids_of(page, "mislabelled") == ranked[: min(48, found.sum())].tolist()


def test_wrong_labels_that_the_network_knows_by_heart_are_hard_or_never_learned(planted, page):
    wrong = np.append(planted.wrong, planted.swapped[1])
    shown = {key: ids_of(page, key) for key in ("mislabelled", "never-learned", "hardest")}
    assert np.isin(wrong, np.concatenate([*shown.values()])).mean() > 0.9


def test_planted_near_duplicates_are_found_and_no_others(planted, scores):
    group = scores["duplicate_of"]
    for name, pairs in planted.copies.items():
        found = (group[pairs[:, 0]] >= 0) & (group[pairs[:, 0]] == group[pairs[:, 1]])
        assert found.sum() >= (10 if name in ("equal", "mirrored") else 9), name
    copies = np.concatenate([*planted.copies.values()])
    others = np.setdiff1d(np.flatnonzero(group >= 0), copies)
    assert len(others) <= 2


def test_copies_with_different_labels_are_shown_first(planted, page):
    assert tuple(ids_of(page, "duplicates")[:2]) == planted.swapped


def in_chromium(page: str, folder, script: str, size: str = "1280,900") -> str:
    """What the script has put into the page's title once a real browser without a network has opened it."""
    if CHROMIUM is None:
        pytest.skip("needs a chromium (Debian: apt-get install chromium)")
    file = folder / "scripted.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--proxy-server=127.0.0.1:9"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size}", "--dump-dom", file.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return re.search(r"<title>(.*?)</title>", shown)[1]


def test_a_browser_shows_every_image(page, tmp_path):
    script = """const images = [...document.querySelectorAll(".tile img")]
    for (const image of images) image.loading = "eager"
    onload = () => document.title = `decoded ${images.filter(image => image.naturalWidth).length}`"""
    assert in_chromium(page, tmp_path, script) == "decoded " + str(page.count('<button class="tile"'))


def test_a_click_opens_the_closer_look(page, tmp_path):
    script = """document.querySelector(".tile").click()
    const box = document.querySelector("dialog")
    document.title = [box.open, box.querySelector("dd").textContent, box.querySelectorAll("svg").length].join(" ")"""
    assert in_chromium(page, tmp_path, script) == f"true {ids_of(page, 'mislabelled')[0]} 1"


@pytest.mark.parametrize("width", [360, 390, 768])
def test_nothing_is_wider_than_a_phone(page, tmp_path, width):
    """In a frame, since a headless window has a least width."""
    tell = """const root = document.documentElement
    onload = () => parent.postMessage(root.scrollWidth - root.clientWidth, "*")"""
    (tmp_path / "page.html").write_text(page.replace("</body>", f"<script>{tell}</script></body>"), encoding="utf-8")
    outer = f"""<html><head><title></title></head><body>
    <iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe></body></html>"""
    script = "onmessage = event => document.title = event.data"
    assert in_chromium(outer, tmp_path, script) == "0"
