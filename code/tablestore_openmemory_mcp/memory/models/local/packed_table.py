"""A table of numbers of six bits in three quarters of its bytes: of the 65 MB of an embedding table, 16 MB less."""

import numpy as np
from numpy.typing import NDArray

_ROWS = 512  # packed at a time


class PackedTable:
    """Takes the place of an n x d uint8 array (d a multiple of four) wherever that is only read by rows."""

    def __init__(self, table: NDArray[np.uint8]) -> None:
        """Packs `table` where it stands in memory, which must be its own: it cannot be used afterwards. Raises
        ValueError, with the table as it was, if a number has more than six bits."""
        if not table.flags.owndata or table.shape[1] % 4 or table.max() > 63:
            raise ValueError("no table of its own of numbers of six bits")
        self._width = table.shape[1]
        count, packed_width = len(table), self._width // 4 * 3
        flat = table.reshape(-1)
        for start in range(0, count, _ROWS):  # what is written never reaches what is still to be read
            part = _packed(table[start : start + _ROWS].reshape(-1, 4))
            flat[start * packed_width : start * packed_width + part.size] = part.reshape(-1)
        del flat
        table.resize((count, packed_width), refcheck=False)  # gives the rest back to the system
        self._packed = table

    @property
    def nbytes(self) -> int:
        return self._packed.nbytes

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies of those rows: len(rows) x d."""
        return _unpacked(self._packed[rows].reshape(-1, 3)).reshape(len(rows), self._width)


def _packed(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """n x 4 to n x 3."""
    a, b, c, d = numbers.T
    return np.stack([a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2], axis=1)


def _unpacked(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """n x 3 to n x 4."""
    a, b, c = packed.T
    return np.stack([a & 63, (a >> 6 | b << 2) & 63, (b >> 4 | c << 4) & 63, c >> 2], axis=1)
