"""What goes over the wire: signatures both ways, golden bytes, HTTP as clients really speak it."""

import asyncio
import contextlib
import http.client
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tablestore as ots
from tablestore.auth import RequestContext, SignV2
from tablestore.credentials import Credentials, CredentialsProvider
from tablestore.protobuf import table_store_pb2 as pb

from support.emulator import Emulator, connect
from support.ots_wire import error_of, signed
from support.tables import create_table, get, put, refused


def send(
    emulator: Emulator, api: str, body: bytes, headers: dict[str, str], method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(emulator.endpoint.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, f"/{api}", body, headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# From a public capture of the real service's traffic (2020-09): status, body, x-ots-contentmd5.
GOLDEN = {
    "no table": (404, b"\n\x11OTSObjectNotExist\x12\x1fRequested table does not exist.", "e2enEqtXyX/3YTqhbiPDtw=="),
    "condition": (403, b"\n\x15OTSConditionCheckFail\x12\x17Condition check failed.", "tb1xxFT1i9oAap/9e+zMLA=="),
}


def test_a_missing_table_is_answered_byte_for_byte(emulator: Emulator) -> None:
    body = pb.DescribeTableRequest(table_name="nowhere").SerializeToString()
    status, headers, answer = send(emulator, "DescribeTable", body, signed(emulator, "DescribeTable", body))
    assert (status, answer, headers["x-ots-contentmd5"]) == GOLDEN["no table"]


def test_a_failed_condition_is_answered_byte_for_byte(emulator: Emulator, client: Any, make_table: Any) -> None:
    row = ots.Row([("a", "x"), ("b", 1)], [])
    request = client.protocol.encoder.encode_request(
        "PutRow", make_table(), row, ots.Condition("EXPECT_EXIST"), ots.ReturnType.RT_NONE, None
    )
    body = request.SerializeToString()
    status, headers, answer = send(emulator, "PutRow", body, signed(emulator, "PutRow", body))
    assert (status, answer, headers["x-ots-contentmd5"]) == GOLDEN["condition"]


def test_errors_are_signed_like_answers(emulator: Emulator) -> None:
    body = pb.DescribeTableRequest(table_name="nowhere").SerializeToString()
    _, headers, _ = send(emulator, "DescribeTable", body, signed(emulator, "DescribeTable", body))
    context = RequestContext(Credentials(emulator.key_id, emulator.secret, None))
    sealed = {name: value for name, value in headers.items() if name.startswith("x-ots-")}
    expected = SignV2("utf8").make_response_signature("/DescribeTable", sealed, SignV2("utf8").get_signing_key(context))
    assert headers["authorization"] == f"OTS {emulator.key_id}:{expected}"
    assert sealed.keys() == {"x-ots-contentmd5", "x-ots-contenttype", "x-ots-date", "x-ots-requestid"}


@pytest.mark.parametrize("region", [None, "cn-hangzhou"], ids=["V2", "V4"])
def test_the_sdk_verifies_our_answers(emulator: Emulator, make_table: Any, region: str | None) -> None:
    client, table = connect(emulator, region=region), make_table()
    put(client, table, [("a", "键"), ("b", 1)], [("c", "值")])
    assert get(client, table, [("a", "键"), ("b", 1)]) == {"c": "值"}
    with refused("OTSConditionCheckFail", 403):
        put(client, table, [("a", "键"), ("b", 1)], [], ots.Condition("EXPECT_NOT_EXIST"))


def test_the_asynchronous_client_works_alike(emulator: Emulator, make_table: Any) -> None:
    table = make_table()

    async def many() -> list[Any]:
        client = ots.AsyncOTSClient(emulator.endpoint, emulator.key_id, emulator.secret, emulator.instance)
        try:
            rows = [ots.Row([("a", "x"), ("b", number)], [("c", number)]) for number in range(50)]
            await asyncio.gather(*(client.put_row(table, row) for row in rows))
            found = await asyncio.gather(*(client.get_row(table, row.primary_key, max_version=1) for row in rows))
            return [row.attribute_columns[0][1] for _, row, _ in found]
        finally:
            await client.close()

    assert asyncio.run(many()) == list(range(50))


@pytest.mark.parametrize("region", [None, "cn-hangzhou"], ids=["V2", "V4"])
def test_a_wrong_secret_is_refused(emulator: Emulator, region: str | None) -> None:
    client = ots.OTSClient(emulator.endpoint, emulator.key_id, "wrong", emulator.instance, region=region)
    with refused("OTSAuthFailed", 403, "Signature mismatch"):
        client.list_table()


def test_an_unknown_key_is_refused(emulator: Emulator) -> None:
    client = ots.OTSClient(emulator.endpoint, "nobody", emulator.secret, emulator.instance)
    with refused("OTSAuthFailed", 403, "does not exist"):
        client.list_table()


def test_another_instance_is_refused(emulator: Emulator) -> None:
    client = ots.OTSClient(emulator.endpoint, emulator.key_id, emulator.secret, "elsewhere")
    with refused("OTSAuthFailed", 403, "instance is not found"):
        client.list_table()


@pytest.mark.parametrize(
    ("changes", "status", "code", "words"),
    [
        ({"x_ots_date": ""}, 400, "OTSParameterInvalid", "Missing header: 'x-ots-date'"),
        ({"x_ots_contentmd5": ""}, 400, "OTSParameterInvalid", "Missing header: 'x-ots-contentmd5'"),
        ({"x_ots_date": "yesterday"}, 400, "OTSParameterInvalid", "Invalid date format"),
        ({"x_ots_date": "2020-01-01T00:00:00.000Z"}, 403, "OTSAuthFailed", "Mismatch between system time"),
        ({"x_ots_contentmd5": "AAAA"}, 403, "OTSAuthFailed", "Mismatch between MD5"),
    ],
)
def test_a_bad_header_is_named(emulator: Emulator, changes: dict[str, str], status: int, code: str, words: str) -> None:
    got, _, answer = send(emulator, "ListTable", b"", signed(emulator, "ListTable", b"", **changes))
    assert got == status
    assert error_of(answer)[0] == code
    assert words in error_of(answer)[1]


def test_signed_headers_cannot_be_changed_on_the_way(emulator: Emulator) -> None:
    headers = signed(emulator, "ListTable", b"") | {"x-ots-extra": "slipped in"}
    status, _, answer = send(emulator, "ListTable", b"", headers)
    assert (status, error_of(answer)) == (403, ("OTSAuthFailed", "Signature mismatch."))


def test_what_is_not_an_api_is_refused(emulator: Emulator) -> None:
    status, _, answer = send(emulator, "SQLQuery", b"", signed(emulator, "SQLQuery", b""))
    assert (status, error_of(answer)) == (400, ("OTSUnsupportOperation", "Unsupported operation: 'SQLQuery'."))
    assert send(emulator, "ListTable", b"", signed(emulator, "ListTable", b""), "GET")[0] == 405
    status, _, answer = send(emulator, "GetRow", b"\xff\xff", signed(emulator, "GetRow", b"\xff\xff"))
    assert (status, error_of(answer)[0]) == (400, "OTSParameterInvalid")


def test_the_managed_apis_are_refused_in_their_own_language(client: Any) -> None:
    """They speak JSON; an error in protocol buffers would reach the caller as a failure to parse JSON."""
    with refused("OTSUnsupportOperation", 400, "CreateMemoryStore"):
        client.create_memory_store({"memoryStoreName": "m"})


def test_a_body_beyond_the_limit_is_refused(emulator: Emulator) -> None:
    body = bytes(5 * 1024 * 1024 + 1)
    status, _, answer = send(emulator, "PutRow", body, signed(emulator, "PutRow", body))
    assert (status, error_of(answer)[0]) == (413, "OTSRequestBodyTooLarge")


def test_what_is_not_http_is_hung_up_on(emulator: Emulator) -> None:
    host, _, port = emulator.endpoint.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(b"\x16\x03\x01 hello TLS\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 400")
        assert raw.recv(4096) == b""


@pytest.mark.parametrize("begin", [b"GET /", b"POST /GetRow HTTP/1.1\r\nx-ots-date: ", b"POST /GetRow HTTP/1.1\r\n"])
def test_a_head_without_end_is_cut_off(emulator: Emulator, begin: bytes) -> None:
    """Before anybody has shown a key; also after a request that was in order."""
    host, _, port = emulator.endpoint.removeprefix("http://").partition(":")
    for before in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=30) as raw:
            raw.sendall(before)
            if before:
                raw.recv(4096)
            sent = 0
            with contextlib.suppress(OSError):
                raw.sendall(begin)
                while sent < 20_000_000:
                    raw.sendall(b"a: b\r\n" * 10_000 if begin.endswith(b"\n") else b"a" * 60_000)
                    sent += 60_000
            assert sent < 20_000_000


@pytest.mark.parametrize("name", ["x_ots_signdate", "x_ots_signregion"])
def test_what_a_signing_key_is_kept_by_is_short(emulator: Emulator, name: str) -> None:
    headers = signed(emulator, "ListTable", b"")
    headers |= {"x-ots-signaturev4": "x", "x-ots-signdate": "20260101", "x-ots-signregion": "r"}
    headers[name.replace("_", "-")] = "x" * 65
    status, _, answer = send(emulator, "ListTable", b"", headers)
    assert (status, error_of(answer)[0]) == (400, "OTSParameterInvalid")


class Temporary(CredentialsProvider):
    """Hands out whatever it holds now."""

    def __init__(self, *credentials: str) -> None:
        self.now = Credentials(*credentials)

    def get_credentials(self) -> Credentials:
        return self.now


def test_temporary_keys_rotate_and_expire(emulator: Emulator) -> None:
    emulator.add_credential("STS.one", "s1", "token 1", time.time() + 600)
    emulator.add_credential("STS.two", "s2", "token 2")
    provider = Temporary("STS.one", "s1", "token 1")
    client = ots.OTSClient(emulator.endpoint, instance_name=emulator.instance, credentials_provider=provider)
    client.list_table()
    provider.now = Credentials("STS.two", "s2", "token 2")
    client.list_table()
    provider.now = Credentials("STS.two", "s2", "token 1")
    with refused("OTSAuthFailed", 403, "security token is invalid"):
        client.list_table()
    emulator.add_credential("STS.one", "s1", "token 1", time.time() - 1)
    provider.now = Credentials("STS.one", "s1", "token 1")
    with refused("OTSAuthFailed", 403, "security token is expired"):
        client.list_table()


def test_requests_on_one_connection_are_answered_in_order(emulator: Emulator, client: Any) -> None:
    """Pipelined, cut in odd places and chunked: clients and proxies do all three."""
    create_table(client, "order")
    host, _, port = emulator.endpoint.removeprefix("http://").partition(":")

    def request(table: str) -> bytes:
        body = pb.DescribeTableRequest(table_name=table).SerializeToString()
        lines = [f"{k}: {v}" for k, v in signed(emulator, "DescribeTable", body).items()]
        head = "\r\n".join(["POST /DescribeTable HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *lines, "", ""])
        return head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    emulator.set_faults(rules=[{"apis": "DescribeTable", "delay": 0.2, "times": 1}])
    data = request("order") + request("nowhere") + request("order")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        for at in range(0, len(data), 97):
            raw.sendall(data[at : at + 97])
        stream = raw.makefile("rb")
        statuses = []
        for _ in range(3):
            statuses.append(int(stream.readline().split()[1]))
            headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
            stream.read(int(headers["content-length"]))
            assert headers["connection"] == "keep-alive"
    assert statuses == [200, 404, 200]
    emulator.clear_faults()


def test_a_burst_of_requests_on_one_connection_is_answered(emulator: Emulator) -> None:
    host, _, port = emulator.endpoint.removeprefix("http://").partition(":")
    lines = [f"{k}: {v}" for k, v in signed(emulator, "ListTable", b"").items()]
    request = "\r\n".join(["POST /ListTable HTTP/1.1", "Host: x", "Content-Length: 0", *lines, "", ""]).encode()
    emulator.set_faults(rules=[{"apis": "ListTable", "delay": 0.2, "times": 1}])
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(request * 2000)
        stream = raw.makefile("rb")
        for _ in range(2000):
            assert stream.readline().startswith(b"HTTP/1.1 200")
            headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
            stream.read(int(headers["content-length"]))
    emulator.clear_faults()


def test_a_thousand_connections_are_kept(emulator: Emulator, client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, [("a", "x"), ("b", 1)], [("c", 1)])
    body = client.protocol.encoder.encode_request(
        "GetRow", table, [("a", "x"), ("b", 1)], None, None, 1, None, None, None, None, None
    ).SerializeToString()
    headers = signed(emulator, "GetRow", body)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        address = emulator.endpoint.removeprefix("http://")
        connections = [http.client.HTTPConnection(address, timeout=60) for _ in range(1000)]

        def ask(connection: http.client.HTTPConnection) -> int:
            connection.request("POST", "/GetRow", body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(ask, connections)) == {200}
            assert all(connection.sock is not None for connection in connections)
            assert set(pool.map(ask, connections)) == {200}
        for connection in connections:
            connection.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_graceful_stop_answers_what_it_was_asked() -> None:
    with Emulator(rules=[{"apis": "PutRow", "delay": 0.5, "when": "after"}]) as emulator:
        client = connect(emulator)
        create_table(client, "t")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(put, client, "t", [("a", "x"), ("b", 1)], [])
            while emulator.calls().get("PutRow") != 1:
                time.sleep(0.01)
            assert emulator.stop() == 0
            writing.result(30)
