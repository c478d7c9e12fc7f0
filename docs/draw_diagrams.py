"""Draw the Mermaid diagrams of the pages as pictures for the site: ``make diagrams`` after changing one.

GitHub draws the code itself, in the page. The site must ask nobody for anything and does not carry Mermaid's three megabytes of
script, so it shows ``docs/assets/PAGE-N.svg`` in the place of the N-th diagram of a page: that is what this script writes, with npm
(for Mermaid) and Chromium (to run it). Each picture names the SHA-256 of its code, and a test compares the two.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
MERMAID = "mermaid@11.17.2"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_DRAW = """async ([name, code]) => {
    mermaid.initialize({startOnLoad: false, securityLevel: "strict", deterministicIds: true, theme: "base",
                        htmlLabels: false, flowchart: {htmlLabels: false}, fontFamily: "sans-serif"});
    return (await mermaid.render(name, code)).svg;
}"""
# Mermaid's own style is for one background. This one takes the colours of the page that it is in, or those after the comma.
_STYLE = """<style>
#ID { font-family: sans-serif; font-size: 16px; }
#ID text { fill: var(--md-default-fg-color, #222); stroke: none; }
#ID .node rect { fill: var(--md-code-bg-color, #f5f5f5); stroke: var(--md-default-fg-color--light, #777); }
#ID .node text { text-anchor: middle; }
#ID .cluster rect { fill: none; stroke: var(--md-primary-fg-color, #777); }
#ID rect.background { fill: var(--md-default-bg-color, #fff); }
#ID .flowchart-link { fill: none; stroke: var(--md-default-fg-color--light, #777); }
#ID .marker { fill: var(--md-default-fg-color--light, #777); stroke: none; }
#ID .edge-thickness-thick { stroke-width: 3px; }
#ID .edge-pattern-dotted { stroke-dasharray: 3; }
</style>"""


def codes(markdown: str) -> list[str]:
    """Return the Mermaid code of each diagram on a page."""
    return BLOCK.findall(markdown)


def picture_of(page: str, number: int) -> Path:
    """Return where the picture of a page's diagram lies; ``page``: its path below docs/ with ``.md``, ``number``: from 1 on."""
    return DOCS / "assets" / f"{page.removesuffix('.md').replace('/', '-')}-{number}.svg"


def digest(code: str) -> str:
    """Return the SHA-256 of a diagram's code, which its picture names."""
    return hashlib.sha256(code.encode()).hexdigest()


def finished(svg: str, code: str, name: str) -> str:
    """Give a picture our style and the hash of its code, and no empty line, which would end the HTML in a page of Markdown."""
    svg = re.sub(r"<style>.*?</style>", lambda _: _STYLE.replace("ID", name), svg, count=1, flags=re.DOTALL)
    svg = svg.replace("<svg ", f'<svg data-code-sha256="{digest(code)}" ', 1)
    return "\n".join(line for line in svg.splitlines() if line.strip()) + "\n"


def fetch_mermaid(folder: Path) -> Path:
    """Fetch Mermaid's package by npm and return its script."""
    done = subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=folder, check=True, capture_output=True, text=True)
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "dist" / "mermaid.min.js"


def main() -> int:
    """Draw every diagram whose picture is missing or of other code."""
    wanted = {
        picture_of(str(page.relative_to(DOCS)), number): code
        for page in sorted(DOCS.rglob("*.md"))
        for number, code in enumerate(codes(page.read_text(encoding="utf-8")), start=1)
    }
    # A new style does not draw a picture anew: remove the picture for that.
    stale = {path: code for path, code in wanted.items() if not path.exists() or digest(code) not in path.read_text("utf-8")}
    if not stale:
        print("all pictures are of the diagrams as they are")
        return 0
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None or shutil.which("npm") is None:
        print("drawing diagrams needs chromium and npm: apt-get install chromium npm", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        script = fetch_mermaid(Path(folder))
        page = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"]).new_page()
        page.add_script_tag(path=script)
        for path, code in stale.items():
            path.write_text(finished(page.evaluate(_DRAW, [path.stem, code]), code, path.stem), encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
