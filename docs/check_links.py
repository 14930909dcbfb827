"""Check the links of the built pages without a network: ``python docs/check_links.py FOLDER``.

Every link, image, script and style sheet within the site must exist, and every ``#fragment`` must
be the id of an element of its page. Nothing that a page needs may come from another host.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# <link> of these kinds leads a reader somewhere; the others load what the page needs
_NAVIGATION = {
    "next",
    "prev",
    "search",
    "index",
    "author",
    "copyright",
    "top",
    "canonical",
}


class _Page(HTMLParser):
    """The ids of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = {"", "top"}  # both are the start of any page
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        if "href" in given:
            is_load = tag == "link" and not _NAVIGATION & set(
                given.get("rel", "").split()
            )
            (self.loads if is_load else self.links).append(given["href"])
        if "src" in given:
            self.loads.append(given["src"])
        if given.get("srcset"):
            self.loads.extend(part.split()[0] for part in given["srcset"].split(","))


def broken_links(site: Path) -> list[str]:
    """Return a line for each link of the pages below `site` that leads nowhere."""
    site = site.resolve()
    # a theme's own files lie in _static; templates among them are no pages
    files = [
        path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    ]
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in files}
    broken = [] if pages else [f"{site}: no page"]
    for path, page in pages.items():
        for link in dict.fromkeys([*page.loads, *page.links]):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    broken.append(
                        f"{path.relative_to(site)}: {link} is loaded from elsewhere"
                    )
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(site) or not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link} does not exist")
            elif target in pages and unquote(parts.fragment) not in pages[target].ids:
                broken.append(f"{path.relative_to(site)}: {link} has no such place")
    return broken


if __name__ == "__main__":
    found = broken_links(Path(sys.argv[1]))
    print("\n".join([*found, f"{len(found)} broken links"]))
    sys.exit(bool(found))
