"""Markup of a report: the page around its sections, tables, pictures and facts."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 1rem; color: #1f2328; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid #d0d7de; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #eaeef2;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); }
img { max-width: 100%; height: auto; display: block; }
figure { margin: 0; }
figcaption { font-size: .8rem; color: #59636e; }
.note { background: #fff8c5; border: 1px solid #d4a72c; border-radius: 6px; padding: .5rem .8rem; }
.facts { list-style: none; padding: 0; }
.facts li { margin: .3rem 0; }
.good::before { content: "\\2713  "; color: #1a7f37; }
.bad::before { content: "\\2717  "; color: #cf222e; }
.key-data { color: #1f6feb; font-weight: 600; }
.key-samples { color: #bc4c00; font-weight: 600; }
"""

# Of a column of the schema; no options.
_KEYS = ("name", "kind", "dtype")


def document(title: str, sections: Sequence[str]) -> str:
    """Return the HTML text of a page, one self-contained file without scripts."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def fact(good: bool, text: str, remedy: str) -> str:
    """Return an entry of a list of facts; a bad one has its remedy."""
    more = "" if good else f"<br><small>What to do: {escape(remedy)}</small>"
    return f'<li class="{"good" if good else "bad"}">{escape(text)}{more}</li>'


def short(value: Any) -> str:
    """Return a value as a text of at most 40 characters."""
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def mean_text(entry: dict[str, Any]) -> str:
    """Return a mean with its standard error."""
    if entry["mean"] is None:
        return "-inf"
    return f"{entry['mean']:+.3f} ± {number_text(entry['standard_error'], 'unknown')}"


def number_text(value: float | None, otherwise: str) -> str:
    """Return a number, or another text for one that is not finite."""
    return otherwise if value is None else f"{value:.3f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table; the texts are escaped."""

    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    top = line(head, "th") if any(head) else ""
    body = "".join(line(cells, "td") for cells in rows)
    return f'<div class="wide"><table>{top}{body}</table></div>'


def picture(png: bytes, alt: str, caption: str = "") -> str:
    """Return a picture that is part of the page."""
    data = base64.b64encode(png).decode()
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">{below}</figure>'


def run_card(run: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> str:
    """Return the sections on the run of the fit and on the columns of the schema."""
    schema = [
        [
            c["name"],
            c["kind"],
            ", ".join(f"{k} {short(v)}" for k, v in c.items() if k not in _KEYS),
        ]
        for c in columns
    ]
    return (
        "<h2>Run card</h2>"
        + table(["", ""], [[key, str(value)] for key, value in run.items()])
        + "<h2>Schema</h2>"
        + table(["column", "kind", "options"], schema)
    )
