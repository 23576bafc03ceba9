"""What the docstring of a class says, taken apart: the catalogue page is written from it.

A docstring of this package is one line, lines with a label ("Forward:", "Reverse:", "Range:",
"Source:"), sections ("Args:", "Raises:"), prose, and a doctest, which is left out here.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

_LABEL = re.compile(r"([A-Z][a-z]+):(?: +(.*))?$")
_ITEM = re.compile(r"(\w[\w, ]*): +(.*)$")
_SECTIONS = ("Args", "Attributes", "Raises")


@dataclass(frozen=True)
class Document:
    """A docstring in parts.

    Attributes:
        summary: its first paragraph.
        lines: the labelled lines, as (label, text); a text keeps its own line breaks.
        prose: its other paragraphs.
        sections: the items of each section, as (name, text).
    """

    summary: str
    lines: tuple[tuple[str, str], ...]
    prose: tuple[str, ...]
    sections: dict[str, tuple[tuple[str, str], ...]]


def document(kind: type) -> Document:
    r"""Take the docstring of a class apart.

    >>> class Twice:
    ...     '''Double it.
    ...
    ...     Forward:  y = 2 x
    ...               for every x
    ...
    ...     Args:
    ...         x: a number
    ...             of any size.
    ...     '''
    >>> parts = document(Twice)
    >>> parts.summary, parts.lines, parts.sections["Args"]
    ('Double it.', (('Forward', 'y = 2 x\nfor every x'),), (('x', 'a number of any size.'),))
    """
    blocks: list[list[str]] = [[]]
    for line in (inspect.cleandoc(kind.__doc__ or "")).splitlines():
        if line.startswith(">>>"):
            break
        if not line.strip():
            blocks.append([])
        else:
            blocks[-1].append(line)
    summary, lines, prose, sections = _joined(blocks[0]), [], [], {}
    for block in blocks[1:]:
        label = _LABEL.match(block[0]) if block else None
        if not block:
            continue
        if label and label[1] in _SECTIONS:
            sections[label[1]] = tuple(_items(block[1:]))
        elif label:
            lines += _labelled(block)
        else:
            prose.append(_joined(block))
    return Document(summary, tuple(lines), tuple(prose), sections)


def _joined(block: list[str]) -> str:
    return " ".join(line.strip() for line in block)


def _labelled(block: list[str]) -> list[tuple[str, str]]:
    """Labelled lines; what is indented below one belongs to it."""
    found: list[tuple[str, list[str]]] = []
    for line in block:
        label = _LABEL.match(line)
        if label:
            found.append((label[1], [label[2] or ""]))
        else:
            found[-1][1].append(line)
    return [(label, "\n".join([text[0], *_dedented(text[1:])]).strip()) for label, text in found]


def _dedented(lines: list[str]) -> list[str]:
    return inspect.cleandoc("\n".join(["", *lines])).splitlines()


def _items(block: list[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, list[str]]] = []
    for line in _dedented(block):
        item = _ITEM.match(line)
        if item:
            found.append((item[1], [item[2]]))
        else:
            found[-1][1].append(line)
    return [(name, _joined(text)) for name, text in found]
