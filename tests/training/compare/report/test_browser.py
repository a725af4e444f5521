"""The page in a real browser: it fits a phone and a desktop, and fetches nothing."""

import shutil

import pytest

from tests.training.compare.browser import CHROMIUM, browsing
from tests.training.compare.synthetic import controls, facts, failed, grid, null
from training.compare.report.write import write_report

for library in ("scipy", "jinja2", "pyarrow"):
    pytest.importorskip(library, reason="needs the extra rebar-loaders[study]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH (Debian: apt-get install chromium)"),
]

SECTIONS = ("answer", "verdicts", "accuracy", "differences", "whole", "visits", "cost", "runs", "settings", "repeat")
CUT_OFF = """
[...document.querySelectorAll('body *')].filter(one => {
    if (one.closest('.scroll, pre, details:not([open])') || one.closest('svg')) return false;
    const box = one.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 1 || box.left < -1);
}).map(one => one.outerHTML.slice(0, 120))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of 200 runs with long names, one of them failed, opened from another folder than it was written to."""
    accuracy = {"budgets": (0.3, 1.0), "variants": ("weight decay 5e-4", "weight decay 1e-4"), "num_seeds": 3}
    outcomes = grid(null, methods=("scan", "uniform", "p-sgd sharp with a long name", "infobatch"), **accuracy)
    outcomes = [failed(outcomes[7]), *outcomes[:7], *outcomes[8:], *controls()]
    folder = tmp_path_factory.mktemp("written")
    write_report(folder, facts(outcomes, settings="budgets: [0.3, 1]\n" + "# " + "long " * 80), outcomes)
    moved = tmp_path_factory.mktemp("moved") / "report.html"
    shutil.move(folder / "report.html", moved)
    return moved


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_the_page_fits_and_fetches_nothing(page, browser, width):
    browser.open(page, width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(CUT_OFF) == []
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.messages == []
    heights = [browser.evaluate(f"document.getElementById('{one}').getBoundingClientRect().height") for one in SECTIONS]
    assert min(heights) > 40
    assert (
        browser.evaluate("Math.min(...[...document.querySelectorAll('figure svg[viewBox]')].map(x => x.clientHeight))")
        > 150
    )


def test_every_run_of_the_main_grid_is_a_point_that_says_which_it_is(page, browser):
    browser.open(page, 1280)
    titles = browser.evaluate("[...document.querySelectorAll('figure svg title')].map(one => one.textContent)")
    runs = [title for title in titles if "seed" in title]
    assert len(runs) == 2 * 3 * (4 + 2) * 3
    assert sum("the loss is not finite" in title for title in runs) == 1


def test_the_page_follows_the_dark_scheme(page, browser):
    def brightness(dark: bool) -> list[float]:
        browser.open(page, 390, dark=dark)
        paper, ink = "(document.body).backgroundColor", "(document.querySelector('figure svg text')).fill"
        numbers = browser.evaluate(f"(getComputedStyle{paper} + getComputedStyle{ink}).match(/\\d+/g).map(Number)")
        return [sum(numbers[:3]), sum(numbers[3:6])]

    (light_page, light_text), (dark_page, dark_text) = brightness(False), brightness(True)
    assert light_page > 600 > 400 > light_text
    assert dark_page < 150 < 300 < dark_text
