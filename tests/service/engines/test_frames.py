"""Messages come back whole and in order, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from service.engines.frames import HEADER_BYTES, LONGEST_FRAME, FrameError, FrameReader, frame

messages = st.lists(
    st.one_of(st.none(), st.integers(-(2**63), 2**63), st.binary(max_size=300), st.lists(st.text(max_size=9))),
    max_size=12,
)


def read(pieces: list[bytes], heard: list[object]) -> None:
    reader = FrameReader()
    for piece in pieces:
        for body in reader.feed(piece):
            heard.append(msgpack.decode(body))


@given(said=messages, data=st.data())
def test_messages_come_back_whole_and_in_order_wherever_the_stream_is_cut(
    said: list[object], data: st.DataObject
) -> None:
    stream = b"".join(map(frame, said))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    heard: list[object] = []
    read([stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)], heard)
    assert heard == said


def test_a_message_that_comes_byte_by_byte_is_whole_with_its_last_byte_only() -> None:
    reader, stream = FrameReader(), bytes(frame(b"x" * 300))
    for i in range(len(stream) - 1):
        assert not list(reader.feed(stream[i : i + 1]))
    (body,) = reader.feed(stream[-1:])
    assert msgpack.decode(body) == b"x" * 300


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("before", [b"", bytes(frame("sound"))])
def test_a_header_that_announces_too_much_is_refused_before_any_of_it_has_come(before: bytes, pieces: int) -> None:
    header = (LONGEST_FRAME + 1).to_bytes(HEADER_BYTES, "big")
    stream, step = before + header, (len(before) + HEADER_BYTES) // pieces
    heard: list[object] = []
    with pytest.raises(FrameError, match=f"{LONGEST_FRAME + 1} bytes"):
        read([stream[start : start + step] for start in range(0, len(stream), step)], heard)
    assert heard == (["sound"] if before else []), "what came before it was read"


def test_the_longest_frame_is_awaited() -> None:
    reader = FrameReader()
    assert not list(reader.feed(LONGEST_FRAME.to_bytes(HEADER_BYTES, "big")))
    assert not list(reader.feed(b"x" * 100))
