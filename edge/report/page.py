"""The report as one HTML file: everything is in it, nothing is asked of any server, and text from runs stays text."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources

from ..errors import MissingExtraError
from ..version import __version__
from . import network, sections
from .facts import Facts
from .pictures import Pictures
from .verdict import judge, title_of


def render(facts: Facts, *, redact: bool = False, images: str | None = None, title: str | None = None) -> str:
    """Return the page. Needs the ``[report]`` extra, else MissingExtraError.

    redact: leave out pictures, and names of files, folders and targets. images: where the images are, if not where the validation
    found them.
    """
    try:
        import jinja2
        import markupsafe
        import vl_convert
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the HTML page needs {error.name}; pip install 'edgekit[report]', or ask for --format text, md or junit"
        ) from error
    verdict = judge(facts)
    # Before anything is redacted: the map is read from the file.
    network_map = network.draw(facts, verdict.candidate)
    if redact:
        facts = sections.redacted(facts)
        verdict = judge(facts)
        if network_map is not None:
            network_map = replace(network_map, nodes=tuple(replace(node, tensor="") for node in network_map.nodes))
    parts = sections.build(facts, verdict, network_map, None if redact else Pictures(images))
    charts = {chart.id: chart.specs for part in parts for chart in part.charts}
    library = _inline(vl_convert.javascript_bundle()) if charts else ""
    script = _inline(_resource("page.js")) if charts else ""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_resource("page.html")).render(
        policy=_policy(library, script),
        version=__version__,
        title=title or title_of(facts),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        verdict=verdict,
        figures=list(sections.figures(facts, verdict)),
        sections=parts,
        reference_word="reference",
        style=markupsafe.Markup(_resource("page.css")),
        specs=markupsafe.Markup(_json(charts)),
        library=markupsafe.Markup(library),
        script=markupsafe.Markup(script),
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(data: object) -> str:
    # Nothing in it can end the script element or begin a comment.
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _inline(script: str) -> str:
    """Return our own JavaScript so that it can stand between script tags. Inside strings the backslashes change nothing."""
    # A parser of HTML makes \n of \r\n, and the hash in the policy would no longer fit.
    return script.replace("\r\n", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(*scripts: str) -> str:
    """Return a Content-Security-Policy: these scripts and no other run, and nothing is loaded from anywhere."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts if script]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"
    )
