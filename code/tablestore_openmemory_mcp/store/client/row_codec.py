"""The SDK's row codec without its slow parts.

The SDK (6.4.8) reads the answers of GetRow and GetRange with a parser in C. For BatchGetRow and Search it has one in
Python that takes twelve times as long. Its C++ codec is built for Python 3.12 alone; without it, every byte of a vector
is checksummed in Python. Both parts can go when the SDK does better.
"""

from typing import Any

import numpy as np
from tablestore import decoder
from tablestore.native import NATIVE_AVAILABLE, parse_single_row
from tablestore.plainbuffer.plain_buffer_coded_stream import PlainBufferCodedInputStream
from tablestore.plainbuffer.plain_buffer_crc8 import PlainBufferCrc8

_LONG = 300  # bytes from which numpy is faster
_PERIOD = 127  # so many zero bytes change no CRC-8 of the polynomial 0x07

_crc_string = PlainBufferCrc8.crc_string
_Row = tuple[list[tuple[str, Any]], list[tuple[str, Any]]]


class NativeRows(PlainBufferCodedInputStream):  # type: ignore[misc]
    """Reads one row as its base does: (key, columns) of (name, value) pairs, in C."""

    def read_row(self) -> _Row:
        try:
            row: _Row = parse_single_row(self.input_stream.buffer)
        except Exception:  # whatever it is: the SDK's own parser says it as an OTSClientError
            row = super().read_row()
        return row


def crc_string(crc: int, data: str | bytes) -> int:
    """The CRC-8 of `data` after `crc`."""
    if isinstance(data, str):
        data = data.encode()
    if len(data) < _LONG:
        return int(_crc_string(crc, data))
    # A CRC is linear, and so many bytes apart two bytes count alike: what is left of all is what they are together.
    whole = np.zeros(-(-len(data) // _PERIOD) * _PERIOD, np.uint8)  # leading zeros count for nothing
    whole[-len(data) :] = np.frombuffer(data, np.uint8)
    whole[-len(data)] ^= crc
    return int(_crc_string(0, np.bitwise_xor.reduce(whole.reshape(-1, _PERIOD)).tobytes()))


def install() -> None:
    """For all clients of this process; again, it changes nothing."""
    PlainBufferCrc8.crc_string = staticmethod(crc_string)
    if NATIVE_AVAILABLE:
        decoder.PlainBufferCodedInputStream = NativeRows
