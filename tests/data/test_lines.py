import io

from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.data.readers import lines
from lmpipe.data.readers.lines import read_lines

CHUNKS = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"\n\n", b"x" * 9, b"\xc3\xa9", b"\x0b"]), max_size=30)


class Dripping(io.RawIOBase):
    """Gives a few bytes at a time, as a network does."""

    def __init__(self, data, size):
        self.stream, self.size = io.BytesIO(data), size

    def read(self, size=-1):
        return self.stream.read(self.size)


@settings(deadline=None, max_examples=300)
@given(CHUNKS, st.integers(1, 7), st.integers(1, 12), st.booleans())
def test_lines_are_those_of_the_whole_with_long_ones_left_out(chunks, block, longest, bare_cr):
    data = b"".join(chunks)
    whole = data.splitlines(keepends=True) if bare_cr else [line + b"\n" for line in data.split(b"\n")]
    if not bare_cr:
        whole = whole[:-1] if data.endswith(b"\n") or not data else [*whole[:-1], whole[-1][:-1]]
    expected, offset = [], 0
    for line in whole:
        expected.append((offset, line if len(line) <= longest else None))
        offset += len(line)
    found = list(read_lines(Dripping(data, block), longest, bare_cr=bare_cr))
    assert [(line.offset, line.data) for line in found] == expected
    assert all(line.head and data.startswith(line.head, line.offset) for line in found if line.data is None)


def test_memory_of_a_long_line_is_bounded():
    class Endless(io.RawIOBase):
        left = 300

        def read(self, size=-1):
            self.left -= 1
            return b"x" * size if self.left > 0 else b""

    (line,) = read_lines(Endless(), lines.BLOCK_BYTES, bare_cr=True)
    assert (line.offset, line.data, len(line.head)) == (0, None, lines.KEPT_BYTES)
