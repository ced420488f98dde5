import random

import pytest

from embedding_serving.wire.codec import FrameError, FrameParser, Kind, encode, parse_head

MAX = 1 << 16


def test_frames_come_out_as_they_went_in_however_the_stream_is_cut() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(200):
        sent = [(rng.randrange(1, 1 << 32), rng.choice(list(Kind)), _bytes(rng, 300), _bytes(rng, 5000)) for _ in range(8)]
        stream = b"".join(encode(call, kind, head, len(tail), MAX) + tail for call, kind, head, tail in sent)
        parser = FrameParser(MAX)
        got = []
        while stream:
            cut = rng.choice([1, 3, 12, 200, 9_000])
            got += [(f.call, f.kind, bytes(f.head), bytes(f.tail)) for f in parser.feed(stream[:cut])]
            stream = stream[cut:]
        assert got == sent


def test_noise_is_refused_or_waited_for_but_never_breaks_the_parser() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(2_000):
        parser = FrameParser(MAX)
        try:
            for _ in range(5):
                list(parser.feed(_bytes(rng, 100)))
        except FrameError:
            continue


def test_frames_before_a_fault_are_still_given() -> None:
    good = encode(1, Kind.REQUEST, b"{}", 0, MAX)
    frames = FrameParser(MAX).feed(good + b"\xff" * 12)
    assert next(frames).call == 1
    with pytest.raises(FrameError, match="a frame of 4294967295 bytes"):
        next(frames)


def test_a_frame_that_is_too_large_is_refused_by_its_header_alone() -> None:
    with pytest.raises(FrameError, match="at most 100 are taken"):
        list(FrameParser(100).feed(encode(1, Kind.REQUEST, b"{}", 1_000, MAX)))


def test_what_does_not_fit_is_not_encoded() -> None:
    with pytest.raises(FrameError, match="larger than"):
        encode(1, Kind.ANSWER, b"{}", 1_000, 100)
    with pytest.raises(FrameError, match="larger than"):
        encode(1, Kind.ANSWER, b" " * (1 << 24), 0, 1 << 30)


@pytest.mark.parametrize("head", [b"", b"[]", b'"a"', b"{", b"\xff"])
def test_a_head_is_a_json_object(head: bytes) -> None:
    with pytest.raises(FrameError, match="the head is no JSON"):
        parse_head(memoryview(head))


def _bytes(rng: random.Random, most: int) -> bytes:
    return rng.randbytes(rng.randrange(most))
