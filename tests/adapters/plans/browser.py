"""Headless Chromium, as a person without a network would open a page."""

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

from attrs import define, field, frozen

from tests.adapters.plans.tools import program

# What the browser itself wants from a network it is not to want here.
QUIET = (
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=3000",
    "--enable-logging=stderr",
)
ITS_OWN = re.compile(r"chrome|https?://[\w.-]*\.(google|googleapis|gvt1)\.com/")
"""The browser's clock, updates and pages; nothing of that is in ours."""
MEASURE = """<script>
const width = document.documentElement.clientWidth;
const inside = element => element.parentElement && (element.parentElement.closest(".scroll, svg") !== null);
const wide = [...document.body.querySelectorAll("*")].filter(element =>
  !inside(element) && element.getBoundingClientRect().right > width + 0.5);
document.documentElement.dataset.measured = JSON.stringify({
  width, scroll: document.documentElement.scrollWidth, wide: wide.map(element => element.outerHTML.slice(0, 80)),
  sections: [...document.querySelectorAll("section")].map(element => [element.id, element.innerText.length]),
  boxes: [...document.querySelectorAll(".timeline rect")].map(element => element.getBoundingClientRect().width),
});
</script>"""


@frozen
class Visit:
    """What was seen: the document as the browser holds it, its complaints, and addresses it asked for by the page."""

    document: str
    console: tuple[str, ...]
    addresses: tuple[str, ...]


def visit(page: Path, width: int, folder: Path, *flags: str) -> Visit:
    """Open a page in a window of some width."""
    log = folder / "network.json"
    command = [program("chromium", "chromium-browser", "google-chrome"), *QUIET, *flags]
    command += [f"--window-size={width},1400", f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    console = tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    asked = set(re.findall(r'"url":"([^"]+)"', log.read_text(encoding="utf-8", errors="replace")))
    return Visit(done.stdout, console, tuple(sorted(url for url in asked if not ITS_OWN.match(url))))


def measure(page: Path, width: int, folder: Path, *flags: str) -> dict:
    """Widths of a page's parts, by a script added to a copy of it."""
    copy = folder / "measured.html"
    text = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text(encoding="utf-8"))
    copy.write_text(text.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    seen = Elements.of(visit(copy, width, folder, *flags).document)
    return json.loads(seen.all("html")[0].attributes["data-measured"])


@define
class Element:
    """An element, and all text within."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@define
class Elements(HTMLParser):
    """All elements of a document, in order."""

    found: list[Element] = field(factory=list)
    open: list[Element] = field(factory=list)

    def __attrs_pre_init__(self):
        super().__init__()

    @classmethod
    def of(cls, document: str) -> "Elements":
        elements = cls()
        elements.feed(document)
        return elements

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.found.append(element)
        if tag not in {"meta", "link", "br"}:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.found.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        while self.open and self.open.pop().tag != tag:
            pass

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements of a tag with these attributes; `class_` is one of the element's classes."""
        wanted_class = attributes.pop("class_", None)
        return [
            element
            for element in self.found
            if element.tag == tag
            and all(element.attributes.get(name) == value for name, value in attributes.items())
            and (wanted_class is None or wanted_class in element.attributes.get("class", "").split())
        ]
