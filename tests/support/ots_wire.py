"""Requests to the emulator made by hand, for what no SDK would send."""

import base64
import hashlib
import time

from tablestore.auth import RequestContext, SignV2
from tablestore.credentials import Credentials
from tablestore.protobuf import table_store_pb2 as pb

from support.emulator import Emulator


def signed(emulator: Emulator, api: str, body: bytes, secret: str | None = None, **changes: str) -> dict[str, str]:
    """Headers of a V2 request; `changes` are made before signing (x_ots_date=...), "" removes one."""
    headers = {
        "x-ots-date": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "x-ots-apiversion": "2015-12-31",
        "x-ots-accesskeyid": emulator.key_id,
        "x-ots-instancename": emulator.instance,
        "x-ots-contentmd5": base64.b64encode(hashlib.md5(body).digest()).decode(),
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    headers = {name: value for name, value in headers.items() if value}
    credentials = Credentials(emulator.key_id, secret or emulator.secret, None)
    SignV2("utf8").make_request_signature_and_add_headers(f"/{api}", headers, RequestContext(credentials))
    return headers


def error_of(body: bytes) -> tuple[str, str]:
    error = pb.Error()
    error.ParseFromString(body)
    return error.code, error.message
