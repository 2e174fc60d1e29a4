"""Protocol buffers from the network, taken apart with care."""

from typing import Any

from google.protobuf.message import DecodeError, Message

from ..errors import invalid


def parse(kind: Any, data: bytes) -> Any:
    """A message of `kind`. Raises OTSParameterInvalid."""
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise invalid(f"The {kind.DESCRIPTOR.name} cannot be decoded: invalid protocol buffer.") from None
    _check_text(message)
    return message


def _check_text(message: Any) -> None:
    """protobuf (proto2, upb) hands out strings that are not UTF-8 as bytes, where everything here expects str."""
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        for one in (value,) if isinstance(value, str | bytes | Message) else value:
            if isinstance(one, bytes):
                raise invalid(f"Invalid UTF-8 in '{field.name}'.")
            if isinstance(one, Message):
                _check_text(one)
