"""python tee.py TO_SERVER TO_CLIENT COMMAND...: runs a stdio server and keeps what passes in two files."""

import signal
import subprocess
import sys
import threading
from typing import BinaryIO


def relay(source: BinaryIO, sink: BinaryIO, kept: BinaryIO) -> None:
    try:
        while data := source.read1(65536):  # type: ignore[attr-defined]
            kept.write(data)
            kept.flush()
            sink.write(data)
            sink.flush()
        sink.close()
    except (BrokenPipeError, ValueError):
        pass  # the other side has gone


def main() -> int:
    to_server, to_client, *command = sys.argv[1:]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    with open(to_server, "ab") as asked, open(to_client, "ab") as answered:  # noqa: PTH123 - no pathlib, starts faster
        inward = threading.Thread(target=relay, args=(sys.stdin.buffer, child.stdin, asked), daemon=True)
        inward.start()
        assert child.stdout
        relay(child.stdout, sys.stdout.buffer, answered)
        return child.wait()


if __name__ == "__main__":
    sys.exit(main())
