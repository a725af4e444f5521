"""The documentation as a site: every page is in its menu, links lead somewhere, and it loads nothing from outside."""

import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml

import loaders

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


class Settings(yaml.SafeLoader):
    """Reads mkdocs.yml without the Python objects that it names."""


Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def pages_of(menu: list | dict | str) -> list[str]:
    """The pages that a part of the menu names."""
    if isinstance(menu, str):
        return [menu]
    return list(chain.from_iterable(map(pages_of, menu.values() if isinstance(menu, dict) else menu)))


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^( *)(`{3,})[^\n]*\n.*?^\1\2 *$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Where links into a page can lead: its headings, by the rule that GitHub and mkdocs.yml share."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_menu_names_every_page_once():
    menu = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Settings)["nav"]
    assert sorted(pages_of(menu)) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "``", prose(page))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" not in link and not (target.is_file() and (not anchor or anchor in anchors(target))):
            wrong.append(link)
    assert wrong == []


def test_the_reference_has_every_public_name():
    named = re.findall(r"^::: loaders\.(?:\w+\.)*(\w+)$", (DOCS / "api.md").read_text("utf-8"), re.MULTILINE)
    assert set(loaders.__all__) <= set(named)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_outside(tmp_path):
    pytest.importorskip("mkdocs", reason="`make docs` installs it")
    pytest.importorskip("mkdocstrings_handlers.python", reason="`make docs` installs it")
    if shutil.which("ruff") is None:
        pytest.skip("ruff, which lays out the signatures, is not on the PATH")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {path.stem for path in PAGES} - {"README"} <= {path.stem for path in pages}
    loading = [
        tag for page in pages for tag in re.findall(r"<(?:script|link|img|iframe) [^>]*", page.read_text("utf-8"))
    ]
    assert len(loading) > len(pages)
    assert not [tag for tag in loading if "//" in tag]
