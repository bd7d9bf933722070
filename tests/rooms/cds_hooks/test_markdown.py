"""Card details as markup: what the specification shows, and nothing that could run."""

from __future__ import annotations

import pytest

from cds_hooks.markdown import markup


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a\nb", "<p>a<br>b</p>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("## Why", "<h4>Why</h4>"),
        ("**a** & b", "<p><strong>a</strong> &amp; b</p>"),
        ("[x](https://a.example/b)", '<p><a href="https://a.example/b" rel="noreferrer noopener">x</a></p>'),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ('[x](https://a.example/"onclick=")', '<p><a href="https://a.example/&#34;onclick=&#34;"'),
        ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
        ("| <b> |\n|---|\n| **c** |", "<td><strong>c</strong></td>"),
        ("| <b> |\n|---|\n| **c** |", '<th scope="col">&lt;b&gt;</th>'),
    ],
)
def test_markup(text: str, expected: str) -> None:
    assert expected in markup(text)
