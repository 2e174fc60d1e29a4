"""GEO_POINT fields: "latitude,longitude" in degrees, kept with the precision that Lucene keeps.

The precision matters at borders: points are rounded down to a 2^32nd of the range, so a point written exactly on a
query's lower border is outside. The official SDK's test counts on it.
"""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import invalid
from ..schema import FieldSpec
from .fields import Field
from .postings import Docs, Renumbering, documents, renumber

EARTH_RADIUS = 6_371_008.7714  # metres, the mean radius, as Lucene has it
_LATITUDE_STEP, _LONGITUDE_STEP = 180 / 2**32, 360 / 2**32

Point = tuple[float, float]  # latitude, longitude
Floats = NDArray[np.float64]


def parse_point(value: Any) -> Point | None:
    """None if it is no point on the globe."""
    parts = value.split(",") if isinstance(value, str) else []
    try:
        latitude, longitude = (float(part) for part in parts)
    except ValueError:
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def asked_point(value: str) -> Point:
    """Raises OTSParameterInvalid."""
    found = parse_point(value)
    if found is None:
        raise invalid(f"[{value}] is not a point: latitude,longitude")
    return found


class GeoField(Field):
    """Points, scanned by numpy."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._docs: array[int] = array("I")
        self._latitudes: array[float] = array("d")
        self._longitudes: array[float] = array("d")

    def near(self, center: Point, meters: float) -> Docs:
        """Documents with a point at most `meters` from `center`, along the surface."""
        docs, latitudes, longitudes = self._points()
        north, east = np.radians(center[0]), np.radians(longitudes - center[1])
        rise = np.sin((np.radians(latitudes) - north) / 2) ** 2
        turn = np.cos(np.radians(latitudes)) * np.cos(north) * np.sin(east / 2) ** 2
        distances: Floats = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.minimum(rise + turn, 1)))
        return docs[distances <= meters]

    def inside_box(self, top_left: Point, bottom_right: Point) -> Docs:
        """A box whose left side is east of its right one crosses the date line."""
        docs, latitudes, longitudes = self._points()
        (top, left), (bottom, right) = top_left, bottom_right
        inside = (latitudes >= bottom) & (latitudes <= top)
        beyond_left, before_right = longitudes >= left, longitudes <= right
        return docs[inside & (beyond_left & before_right if left <= right else beyond_left | before_right)]

    def inside_polygon(self, corners: tuple[Point, ...]) -> Docs:
        docs, latitudes, longitudes = self._points()
        inside = np.zeros(len(docs), np.bool_)
        for (south, west), (north, east) in zip(corners, (*corners[1:], corners[0]), strict=True):
            if south != north:  # a side along a parallel is crossed by none
                crossed = (south > latitudes) != (north > latitudes)
                inside ^= crossed & (longitudes < (east - west) * (latitudes - south) / (north - south) + west)
        return docs[inside]

    def _points(self) -> tuple[Docs, Floats, Floats]:
        return documents(self._docs), np.array(self._latitudes), np.array(self._longitudes)

    def _index(self, doc: int, values: list[Any]) -> bool:
        points = [point for value in values if (point := parse_point(value)) is not None]
        for latitude, longitude in points:
            self._docs.append(doc)
            self._latitudes.append(float(np.floor(latitude / _LATITUDE_STEP) * _LATITUDE_STEP))
            self._longitudes.append(float(np.floor(longitude / _LONGITUDE_STEP) * _LONGITUDE_STEP))
        return bool(points)

    def remap(self, renumbering: Renumbering) -> None:
        super().remap(renumbering)
        _, latitudes, longitudes = self._points()
        self._docs, kept = renumber(self._docs, renumbering)
        self._latitudes = array("d", latitudes[kept].tobytes())
        self._longitudes = array("d", longitudes[kept].tobytes())
