"""For the site: the files of the repository that pages link to, such as examples, become pages of it.

Pages link by relative paths, which a browser of the repository follows too. MkDocs, which is told of this file in
mkdocs.yml, knows those below docs/ only.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PREFIX = "repository/"  # of the pages that are made here
LANGUAGES = {".py": "python", ".yaml": "yaml"}
LINK = re.compile(r"(?<=\]\()([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file that a page links to, and for those that these link to."""
    waiting = list(files.documentation_pages())
    while waiting:
        for target in targets(waiting.pop()):
            if files.get_file_from_path(of_site(target)) is None:
                page = File.generated(config, of_site(target), content=page_of(target))
                files.append(page)
                waiting.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links out of docs/, and those of pages from outside of it, lead to where the site has their targets."""

    def moved(link: re.Match[str]) -> str:
        target = target_of(page.file, link[0])
        return link[0] if target is None else posixpath.relpath(of_site(target), posixpath.dirname(page.file.src_uri))

    return LINK.sub(moved, markdown)


def targets(page: File) -> list[str]:
    """The files outside of docs/ that a page links to, from the root of the repository."""
    found = [target_of(page, link) for link in LINK.findall(page.content_string)]
    return [target for target in found if target is not None and not target.startswith("docs/")]


def target_of(page: File, link: str) -> str | None:
    """The file of the repository that a link of a page names; None where it is no such file."""
    place = page.src_uri.removeprefix(PREFIX) if page.src_uri.startswith(PREFIX) else f"docs/{page.src_uri}"
    place = place if (ROOT / place).exists() else place.removesuffix(".md")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
    return target if not target.startswith("..") and (ROOT / target).is_file() else None


def of_site(target: str) -> str:
    """The place in the site of a file of the repository."""
    if target == "README.md":
        return "index.md"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return PREFIX + (target if target.endswith(".md") else f"{target}.md")


def page_of(target: str) -> str:
    """The Markdown that shows a file."""
    text = (ROOT / target).read_text("utf-8")
    if target.endswith(".md"):
        return text
    return f"# {target}\n\n````{LANGUAGES.get(Path(target).suffix, 'text')}\n{text}````\n"
