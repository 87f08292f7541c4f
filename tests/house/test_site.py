"""The documentation site: it builds without a warning, and its parts fit together."""

import re
import runpy
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

import quatrain

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*DOCS.glob("*.md"), *DOCS.glob("api/*.md")]


def navigation(entries):
    """The pages of nested entries of the navigation."""
    for entry in entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else navigation(target)


def public_names():
    return {name for name in quatrain.__all__ if name != "__version__"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    runpy.run_path(str(DOCS / "build.py"))["build"](folder)
    return folder


class Addresses(HTMLParser):
    """The addresses that a page requests, and those of its links."""

    def __init__(self, page):
        super().__init__()
        self.requests, self.links = [], []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        found = [value for key, value in attrs if key in ("href", "src") and value]
        (self.links if tag == "a" else self.requests).extend(found)


def is_file_of(site, page, address):
    """Whether a relative address is a file, or a folder with a page."""
    path = address.partition("#")[0]
    target = site / path.lstrip("/") if path.startswith("/") else page.parent / path
    return target.is_file() or (target / "index.html").is_file()


def test_the_site_builds_without_a_warning_and_needs_no_network(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > len(PAGES)
    for page in pages:
        text, addresses = page.read_text(), Addresses(page)
        assert [address for address in addresses.requests if "//" in address] == []
        assert str(ROOT) not in text
        assert not re.search(r'class="arithmatex"|\\frac|\\right', text)


def test_the_links_of_the_site_exist(site):
    broken = [
        f"{page.relative_to(site)}: {address}"
        for page in site.rglob("*.html")
        if "results" not in page.relative_to(site).parts  # reports are pages of their own
        for address in Addresses(page).links
        if not re.match(r"[a-z]+:|#", address) and not is_file_of(site, page, address)
    ]
    assert broken == []


def test_each_public_name_has_its_docstring_on_a_page_of_the_api(site):
    pages = [page.read_text() for page in site.glob("api/**/index.html")]
    assert "doc-module" not in "".join(pages)  # a module of the same name
    shown = {name for page in pages for name in re.findall(r"^.*?<h2 id=\"([\w.]+)\"", page, re.M)}
    assert {name.rpartition(".")[2] for name in shown} == public_names()


def test_the_addresses_of_llms_txt_exist(site):
    addresses = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text())
    assert len(addresses) > 20
    assert [address for address in addresses if not (site / address).exists()] == []


def test_each_page_is_in_the_navigation_and_in_llms_txt():
    entries = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    pages = sorted(page.relative_to(DOCS).as_posix() for page in PAGES)
    assert sorted(navigation(entries)) == pages
    assert sorted(re.findall(r"\]\(([^)]+)\)", (DOCS / "llms.txt").read_text())) == pages


def test_the_page_of_decisions_lists_all():
    listed = re.findall(r"\]\(([^)]+)\)", (DOCS / "decisions" / "README.md").read_text())
    assert listed == sorted(path.name for path in (DOCS / "decisions").glob("0*.md"))
    numbers = [name[:4] for name in listed]
    assert numbers == sorted(set(numbers))


def test_the_overview_of_the_api_lists_the_names_of_each_page():
    rows = re.findall(
        r"^\| \[.*?\]\((\w+\.md)\) \| (.*) \|$", (DOCS / "api/index.md").read_text(), re.M
    )
    assert len(rows) == len([*DOCS.glob("api/*.md")]) - 1
    for page, names in rows:
        text = (DOCS / "api" / page).read_text()
        directives = re.findall(r"^::: quatrain\.(?:.*\.)?(\w+)$", text, re.M)
        assert re.findall(r"`(\w+)`", names) == directives


def test_the_figures_of_the_mathematics_are_drawn_by_their_command(tmp_path):
    runpy.run_path(str(DOCS / "figures" / "draw.py"))["draw"](tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(path.name for path in (DOCS / "figures").glob("*.svg"))
    assert all("prefers-color-scheme" in (tmp_path / name).read_text() for name in drawn)
