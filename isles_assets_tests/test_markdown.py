"""Text from outside is shown as it is, wherever Markdown is rendered."""

import html
import re

import pytest

from isles_assets.lib.markdown import escaped, markdown_table

markdown_it = pytest.importorskip("markdown_it")

HOSTILE = {
    "pipes": "a | b || c \\| d",
    "lines": "a\nb\r\nc\u2028d\x0be",
    "HTML": "<script>alert(1)</script><img src=x onerror=y><!-- x -->",
    "entities": "&lt;b&gt; &#60;",
    "code": "`a` ``b | c`` ```",
    "links": "[a](http://b) ![c](d) <http://e> [f]: g",
    "marks": "*a* **b** _c_ __d__ ~~e~~ # f",
    "lists": "- a\n1. b\n+ c\n> d\n---",
    "backslashes": "a\\b\\\\ \\",
    "terminal": "a\x1b[31mb\x07",
    "direction": "a\u202eb\u200bc",
    "nothing": "",
    "path": "raw_data/sub-x/a b$(c)_'d'.nii.gz",
}


def rendered(text):
    return markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def as_shown(text):
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in " ".join(text.split())
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_from_outside_is_shown_as_it_is_in_one_cell(text):
    table = rendered(markdown_table(("left", "right"), [(escaped(text), "last")]))
    cells = re.findall("<td>(.*?)</td>", table)
    assert [html.unescape(cell) for cell in cells] == [as_shown(text), "last"]
    assert not re.search("<(?!/?(table|thead|tbody|tr|th|td)>)", table)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_from_outside_is_shown_as_it_is_in_a_paragraph(text):
    assert html.unescape(rendered(f"says {escaped(text)}")).strip() == f"<p>says {as_shown(text)}".rstrip() + "</p>"
