"""One self-contained page: style, tables and figures inside, nothing fetched, made to be read and printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; }
body { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; color: #1a1a1a; background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #ccc; }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .4rem; }
p { margin: .6rem 0; max-width: 46rem; }
.subtitle { color: #555; margin-top: 0; max-width: none; overflow-wrap: anywhere; }
nav { font-size: .92rem; margin: 1rem 0 0; } nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: #00558a; }
figure { margin: 1.2rem 0; } figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; line-height: 1.5; color: #444; max-width: 50rem; margin-top: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #444; padding-bottom: .3rem; }
th, td { padding: .28rem .8rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1.5px solid #999; vertical-align: bottom; }
tbody th { font-weight: 400; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text, th.text { text-align: left; white-space: normal; }
.verdict { background: #f3f6f8; border-left: 4px solid #009E73; padding: .8rem 1.2rem; margin: 1.4rem 0; }
.verdict.bad { border-left-color: #D55E00; background: #fdf4ee; }
.verdict p { margin: .35rem 0; max-width: none; }
ul { max-width: 46rem; padding-left: 1.2rem; } li { margin: .25rem 0; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 3rem; border-top: 1px solid #ccc; font-size: .85rem; color: #555; }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; } nav { display: none; }
  .scroll { overflow: visible; } table { font-size: .78rem; } th, td { padding: .22rem .45rem; white-space: normal; }
  h2, h3 { break-after: avoid; } figure, table, .verdict { break-inside: avoid; } }
"""


def page(title: str, subtitle: str, lead: str, sections: Sequence[tuple[str, str]], footer: str) -> str:
    """The whole document; `lead`, `footer` and the bodies of `sections` (title, body) are HTML already."""
    links = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    bodies = "\n".join(f'<h2 id="{_anchor(name)}">{escape(name)}</h2>\n{body}' for name, body in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="subtitle">{escape(subtitle)}</p>\n{lead}\n<nav>{links}</nav>\n'
        f"{bodies}\n<footer>{footer}</footer>\n</body>\n</html>\n"
    )


def _anchor(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(texts: Iterable[str]) -> str:
    """A list of plain sentences."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def verdict(sentences: Iterable[str], good: bool = True) -> str:
    """What matters most, set apart."""
    return f'<div class="verdict{"" if good else " bad"}">' + "".join(map(paragraph, sentences)) + "</div>"


def figure(image: str, name: str, caption: str) -> str:
    """A figure from a data address, with what it is called and how to read it."""
    return (
        f'<figure><img src="{image}" alt="{escape(name, quote=True)}">'
        f"<figcaption><strong>{escape(name)}.</strong> {escape(caption)}</figcaption></figure>"
    )


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", text_columns: Sequence[int] = ()
) -> str:
    """A table of texts; the first column names the row, `text_columns` are set left and may wrap."""
    kind = dict.fromkeys(text_columns, ' class="text"')

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{kind.get(i, '')}>{escape(cell)}</{tag}>" for i, cell in enumerate(row))

    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{title}{top}<tbody>{body}</tbody></table></div>'
