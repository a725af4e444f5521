"""A figure of a report: the names that a study gives its parts stay what they are."""

from xml.etree import ElementTree

import pytest

from training.compare.report.panel import Panel, svg_of
from training.compare.report.plots import Place


@pytest.mark.parametrize("label", ["plain", r"C:\data\1", 'half "off"', "both \" and '", "<b> & more"])
def test_any_label_names_the_figure(label):
    svg = svg_of(Panel(Place("", label), lambda axes: {}), 0)
    opening = svg[: svg.index(">")]
    assert ElementTree.fromstring(f"{opening}/>").get("aria-label") == label
