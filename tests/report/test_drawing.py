"""The drawings, and the colours of the page."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.report import drawing, html
from pipeline.report.readings import read
from tests.report.tables import entry, folio, tables

STYLE = (Path(html.__file__).parent / "templates/style.css").read_text()
#: WCAG 2.2, 1.4.3 (text) and 1.4.11 (what is no text).
TEXT, GRAPHIC = 4.5, 3.0


def picture(entries, letters="", pages=16):
    return str(drawing.block(read(tables(entries), letters, pages).blocks[0]))


def as_xml(svg):
    """HTML allows attributes without quotation marks; XML does not."""
    return ElementTree.fromstring(re.sub(r"=([^\s\"'>/]+)(?=[\s>])", r'="\1"', svg))


@pytest.mark.parametrize(
    ("entries", "letters"),
    [
        (folio(0x400, 16), "A" * 16),
        (folio(0x400, 8, "w") + folio(0x908, 8, "ydw"), "l" * 8 + "A" * 8),
        ([0] * 16, "." * 16),
        ([entry(0x400 + at * 2, "ydw") for at in range(16)], 'L"<&?' + "." * 11),
    ],
)
def test_a_picture_is_well_formed_and_has_words_whatever_the_test_told(entries, letters):
    svg = as_xml(picture(entries, letters))
    assert svg.get("role") == "img"
    assert svg.get("aria-label").startswith("16 entries at 0x100000000000: ")
    assert svg.get("viewBox").startswith("0 0 ")


def test_all_that_a_picture_refers_to_is_in_the_page_once():
    there = re.findall(r"symbol id=(\w+)", drawing.defs())
    assert len(there) == len(set(there))
    drawn = picture(folio(0x400, 16), "A" * 16) + picture(folio(0x400, 16, "ydw"), "A" * 16)
    used = set(re.findall(r'href="#(\w+)"', drawn))
    assert used == {"lanes", "frames", "folded16", "apart16"}
    assert used <= set(there)


def test_folded_and_not_folded_differ_in_shape_and_lazyfree_in_its_letter():
    folded, apart = picture(folio(0x400, 16), "L" * 16), picture(folio(0x400, 16, "ydw"), "l" * 16)
    assert "#folded16" in folded and "#folded16" not in apart
    assert ">LLLLLLLLLLLLLLLL<" in folded and ">llllllllllllllll<" in apart


def test_a_bar_is_as_long_as_its_number_and_never_vanishes():
    assert [re.findall(r"h(\d+)", drawing.bar(value, 64)) for value in (64, 16, 1, 0, None)] == [
        ["48"],
        ["12"],
        ["1"],
        [],
        [],
    ]
    assert drawing.bar(-32, 64) == drawing.bar(32, 64)
    assert drawing.bar(0, 0) == ""


def schemes():
    """The colours by name, in the light and in the dark scheme."""
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in
                   STYLE.split("@media print")[0].split("@media (prefers-color-scheme: dark)"))  # fmt: skip
    return {"light": light, "dark": light | dark}


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_in_boxes_and_all_text_have_the_contrast_that_wcag_asks_for(scheme):
    """axe looks at text of HTML, not at that of SVG."""
    colours = schemes()[scheme]
    pairs = [("ink", name) for name in ("a", "l", "d", "s", "z")]
    pairs += [(text, ground) for text in ("ink", "soft", "link") for ground in ("ground", "raised")]
    pairs += [(name, f"{name}-g") for name in ("pass", "fail", "inc", "known")]
    found = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in found.items() if ratio < TEXT} == {}
    assert contrast(colours["soft"], colours["ground"]) >= GRAPHIC  # bars, brackets, empty boxes
