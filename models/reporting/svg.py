"""Turn matplotlib's SVG into an element for a page.

It gets ids of its own, the page's fonts and colours, and titles for screen readers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Marks = Sequence[str]
"""What each drawn point of a line is, in order."""

_SVG: Final = "{http://www.w3.org/2000/svg}"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_REFERENCE: Final = re.compile(r"#([\w.-]+)")


def page_svg(
    drawn: str,
    prefix: str,
    variables: Mapping[str, str],
    marks: Sequence[Marks],
    titles: tuple[str, str],
    texts: Mapping[str, Sequence[str]],
) -> str:
    """Return the SVG element of a drawing; its ids begin with `prefix`.

    `variables` take the place of colours, and `texts`, by the id of their group, that of the lines that were drawn;
    `titles` are a title and a description. The points of the line ``line-i`` get `marks[i]` as their titles.
    """
    root = ElementTree.fromstring(drawn)
    _drop(root, ("metadata", "style"))
    groups = {element.get("id", ""): element for element in root.iter(f"{_SVG}g")}
    for i, told in enumerate(marks):
        for use, text in zip(_within(groups, f"line-{i}", "use"), told, strict=True):
            ElementTree.SubElement(use, "title").text = text
    for name, lines in texts.items():
        for element, text in zip(_within(groups, name, "text"), lines, strict=True):
            element.text = text
    _tidy_ids(root, prefix)
    for element in root.iter():
        _tidy(element, variables)
    _entitle(root, prefix, titles)
    return ElementTree.tostring(root, encoding="unicode")


def _drop(root: Element, names: Sequence[str]) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{_SVG}{name}" for name in names}:
                parent.remove(child)


def _within(groups: Mapping[str, Element], name: str, tag: str) -> list[Element]:
    return list(groups[name].iter(f"{_SVG}{tag}"))


def _tidy_ids(root: Element, prefix: str) -> None:
    """Keep the ids that something refers to, with the prefix; drawings share a page."""
    used = {found for e in root.iter() for value in e.attrib.values() for found in _REFERENCE.findall(value)}
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", f"{prefix}-{name}")
        link = element.attrib.pop(_LINK, None)
        if link is not None:
            element.set("href", f"#{prefix}-{link[1:]}")
        clip = element.get("clip-path")
        if clip is not None:
            element.set("clip-path", _REFERENCE.sub(rf"#{prefix}-\1", clip))


def _tidy(element: Element, variables: Mapping[str, str]) -> None:
    """Take the page's font and colours, and leave out what says nothing."""
    element.tag = element.tag.removeprefix(_SVG)
    element.tail = None
    if element.tag not in ("text", "title"):
        element.text = None
    style = element.get("style")
    if style is not None:
        style = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", re.sub(r"font-family: [^;]*(; )?", "", style))
        for color, variable in variables.items():
            style = style.replace(color, variable)
        element.set("style", style)
    path = element.get("d")
    if path is not None:
        element.set("d", " ".join(re.sub(r"(\.\d\d)\d+", r"\1", path).split()))
    if "rotate(-0 " in element.get("transform", ""):
        del element.attrib["transform"]


def _entitle(root: Element, prefix: str, titles: tuple[str, str]) -> None:
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-desc")
    for place, (name, text) in enumerate(zip(("title", "desc"), titles, strict=True)):
        child = Element(name, {"id": f"{prefix}-{name}"})
        child.text = text
        root.insert(place, child)
