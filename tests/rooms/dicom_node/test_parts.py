"""parts: multipart bodies, cut anywhere, give their parts byte for byte, or are refused."""

from __future__ import annotations

import random

import pytest

from dicom_node.dicomweb.parts import MAX_HEADERS_BYTES, Broken, media_type, parts
from tests.support.clause import clause

SEED = 20260102


def read(body: bytes, boundary: str = "b", cut: int = 7) -> list[tuple[dict[str, str], bytes]]:
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    return [(dict(part.headers), b"".join(part.pieces)) for part in parts(pieces, boundary)]


@clause("RFC 2046 5.1.1", "a line that only begins like the boundary belongs to its part")
def test_what_looks_like_a_boundary_is_content() -> None:
    content = b"x\r\n--bb\r\n--b-\r\n--b c\r\n\r\n--"
    assert read(b"--b\r\n\r\n" + content + b"\r\n--b--\r\n") == [({}, content)]


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 64, 100_000])
def test_any_content_comes_out_however_the_body_is_cut(cut: int) -> None:
    random_ = random.Random(SEED + cut)
    for _ in range(30):
        contents = [_content(random_) for _ in range(random_.randint(1, 5))]
        body = random_.choice([b"", b"preamble\r\n", b"\r\n", b"--c\r\n"])
        for content in contents:
            blank = random_.choice([b"", b" ", b"\t "])
            body += (
                b"--b" + blank + b"\r\nContent-Type: a/b;\r\n charset=x\r\nX:y\r\n\r\n" + content + b"\r\n"
            )
        body += b"--b--" + random_.choice([b"", b"\r\n", b"\r\nepilogue --b\r\n"])
        found = read(body, cut=cut)
        assert [content for _, content in found] == contents
        assert all(headers == {"content-type": "a/b; charset=x", "x": "y"} for headers, _ in found)


def _content(random_: random.Random) -> bytes:
    pieces = [b"", b"\r", b"\n", b"\r\n", b"--", b"--b", b"\r\n--", b"\r\n-", b"\0", b"b", b"--bb"]
    content = b"".join(random_.choice(pieces) for _ in range(random_.randint(0, 20)))
    while b"\r\n--b\r\n" in b"\r\n" + content + b"\r\n" or b"\r\n--b--" in b"\r\n" + content:
        content = content.replace(b"--b", b"-b")
    return content + random_.randbytes(random_.randint(0, 300)).replace(b"--b", b"..b")


def test_parts_without_headers_and_empty_parts() -> None:
    assert read(b"--b\r\n\r\nx\r\n--b\r\n\r\n\r\n--b\r\nA: b\r\n\r\n--b--") == [
        ({}, b"x"),
        ({}, b""),
        ({"a": "b"}, b""),
    ]


def test_what_is_not_read_of_a_part_is_passed_over() -> None:
    body = b"--b\r\n\r\n" + bytes(1000) + b"\r\n--b\r\n\r\nsecond\r\n--b--"
    second = list(parts([body], "b"))[1]
    assert second.number == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary",
        b"--b",
        b"--b\r\n",
        b"--b--",
        b"--b\r\n\r\nnot whole",
        b"--b\r\n\r\nnot whole\r\n--b",
        b"--b\r\nContent-Type: x" + bytes(MAX_HEADERS_BYTES),
    ],
)
def test_what_is_not_whole_is_broken(body: bytes) -> None:
    with pytest.raises(Broken):
        read(body)
    with pytest.raises(Broken):
        read(body, cut=1)


def test_any_damage_is_refused_or_read_and_never_crashes() -> None:
    random_ = random.Random(SEED)
    whole = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + random_.randbytes(400) + b"\r\n--b--\r\n"
    for _ in range(2000):
        body = bytearray(whole)
        for _ in range(random_.randint(1, 6)):
            at = random_.randrange(len(body))
            match random_.randrange(3):
                case 0:
                    body[at] = random_.randrange(256)
                case 1:
                    del body[at : at + random_.randint(1, 20)]
                case _:
                    body[at:at] = random_.choice([b"\r\n--b", b"--b--", b"\r\n\r\n", b"\0" * 9, b":"])
        try:
            found = read(bytes(body), cut=random_.choice([1, 13, 500]))
        except Broken:
            continue
        assert sum(len(content) for _, content in found) <= len(body)


def test_a_boundary_that_is_none_is_refused() -> None:
    for boundary in ("", "ü", "a" * 201, "a\r\nb"):
        with pytest.raises(Broken):
            list(parts([b""], boundary))


def test_content_types_are_read_with_and_without_quotes() -> None:
    assert media_type('Multipart/Related; BOUNDARY="a;\\"b"; type = text/x') == (
        "multipart/related",
        {"boundary": 'a;"b', "type": "text/x"},
    )
    assert media_type(None) == ("", {})
