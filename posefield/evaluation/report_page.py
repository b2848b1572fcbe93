"""The pieces of a self-contained HTML report: tiles, tables, pictures."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np

_STYLE = """
:root { --ink: #1d2733; --soft: #5b6875; --line: #dfe4ea; --paper: #ffffff; --ground: #f4f6f8;
        --accent: #1f6fb2; --bad: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
       font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 14px; max-width: 78ch; }
.lead, .note, figcaption { color: var(--soft); }
.note, figcaption { font-size: 14px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
          padding: 22px 24px; margin-top: 20px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 14px;
         margin-top: 22px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
        padding: 14px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 600;
          font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 14px; }
figure { margin: 0; }
figure + figure { margin-top: 18px; }
figure img { width: 100%; height: auto; display: block; }
figure img.own-size { width: auto; max-width: 100%; border-radius: 6px; }
.views { display: grid; grid-template-columns: repeat(3, minmax(0, max-content));
         gap: 10px; margin: 6px 0 20px; }
.views figure { margin-top: 0; }
.views img { width: auto; max-width: 100%; max-height: 400px; border-radius: 6px; }
.views figcaption { margin-top: 4px; }
h3 { font-size: 16px; margin: 14px 0 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
        font-size: 15px; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 500; font-size: 14px; }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr));
          gap: 8px 48px; align-items: start; }
.wide { overflow-x: auto; }
.wide table, .wide th { font-size: 14px; }
.wide th, .wide td { padding: 6px 8px; vertical-align: bottom; }
.wide th:first-child, .wide td:first-child { padding-left: 0; }
.named th:nth-child(2), .named td:nth-child(2) { text-align: left; min-width: 9em; }
.foot { margin: 10px 0 0; }
.bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0;
     font-size: 15px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 700px) { .views { grid-template-columns: 1fr; }
                            .tables { grid-template-columns: 1fr; } }
"""


def page(title: str, lead: str, body: Iterable[str]) -> str:
    """Return a whole HTML document that needs no other file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + '\n'.join(body)
        + '\n</main>\n</body>\n</html>\n'
    )


def tiles(items: Sequence[tuple[str, str]]) -> str:
    """Return big figures with their names below, from (value, name) pairs."""
    cells = ''.join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in items
    )
    return f'<div class="tiles">{cells}</div>'


def section(heading: str, *content: str, note: str = '') -> str:
    """Return a titled block of already formatted content."""
    lead = f'<p class="note">{escape(note)}</p>' if note else ''
    return f'<section><h2>{escape(heading)}</h2>{lead}{"".join(content)}</section>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are numbers."""
    head = ''.join(f'<th>{escape(cell)}</th>' for cell in header)
    body = ''.join(
        '<tr>' + ''.join(f'<td>{escape(cell)}</td>' for cell in row) + '</tr>' for row in rows
    )
    return f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def wide_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return a table in small print that scrolls where the window is too narrow for it.

    Args:
        header, rows: as in `table`.
        text_columns: 1, or 2 when the second column is text, too.
    """
    kind = 'wide named' if text_columns > 1 else 'wide'
    return f'<div class="{kind}">{table(header, rows)}</div>'


def footnote(text: str) -> str:
    """Return a remark below a table or picture."""
    return f'<p class="note foot">{escape(text)}</p>'


def definitions(items: Sequence[tuple[str, str]]) -> str:
    """Return a list of names and what they stand for."""
    cells = ''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in items)
    return f'<dl>{cells}</dl>'


def picture(png: bytes, alt: str) -> str:
    """Return a figure with an embedded PNG."""
    return f'<figure>{_image(png, alt)}</figure>'


def animation(gif: bytes, caption: str) -> str:
    """Return a figure with an embedded GIF at its own size, and its caption."""
    image = _image(gif, caption, 'gif').replace('<img ', '<img class="own-size" ', 1)
    return f'<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>'


def picture_row(pictures: Sequence[tuple[bytes, str]]) -> str:
    """Return PNG pictures side by side, each with its caption."""
    cells = ''.join(
        f'<figure>{_image(png, caption)}<figcaption>{escape(caption)}</figcaption></figure>'
        for png, caption in pictures
    )
    return f'<div class="views">{cells}</div>'


def heading(text: str) -> str:
    """Return a heading inside a section."""
    return f'<h3>{escape(text)}</h3>'


def tables(*content: str) -> str:
    """Return tables side by side where the window is wide enough."""
    return '<div class="tables">' + ''.join(f'<div>{item}</div>' for item in content) + '</div>'


def encode_png(image_HW3: np.ndarray) -> bytes:
    """Return an RGB float image in [0, 1] as PNG."""
    levels = np.round(np.clip(image_HW3, 0.0, 1.0) * 255).astype(np.uint8)
    return cv2.imencode('.png', cv2.cvtColor(levels, cv2.COLOR_RGB2BGR))[1].tobytes()


def _image(content: bytes, alt: str, kind: str = 'png') -> str:
    data = base64.b64encode(content).decode('ascii')
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/{kind};base64,{data}">'
