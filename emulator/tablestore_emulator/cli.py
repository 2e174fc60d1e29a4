"""The command `tablestore-emulator`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

EXIT_FAILED, EXIT_USAGE, EXIT_LOCKED = 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, then serve or dump; ends the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["dump"]:
        sys.exit(_dump(given[1:]))
    sys.exit(_serve(_server_parser().parse_args(given)))


def _server_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tablestore-emulator",
        description="A local Tablestore on the real wire protocol.",
        epilog="`tablestore-emulator dump TABLE --data DIR` prints a table's rows as JSON lines.",
    )
    add = parser.add_argument
    add("--version", action="version", version=_version())
    add("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    add("--port", type=int, default=8087, help="port to listen on; 0 takes a free one")
    add("--port-fallback", action="store_true", help="take a free port if --port is taken")
    add("--data", type=Path, metavar="DIR", help="keep everything in this directory (default: in memory)")
    add("--instance", default="emulator", help="the instance's name")
    add(
        "--access-key",
        action="append",
        default=[],
        metavar="ID:SECRET[:TOKEN]",
        help="an access key to accept; repeatable (default: $TABLESTORE_EMULATOR_ACCESS_KEY, else emulator:emulator)",
    )
    add("--ready-file", type=Path, metavar="PATH", help="write endpoint and keys here (mode 0600) once it listens")
    add("--exit-with-parent", action="store_true", help="stop when standard input ends")
    add("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    faults = parser.add_argument_group("faults", "what hurts in production, on demand; see the README")
    add = faults.add_argument
    add("--seed", type=int, default=0, help="of the random numbers that decide which calls a fault hits")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="JSON",
        help='such as {"apis": "PutRow", "error": "OTSServerBusy"}',
    )
    add("--table-ready-after", type=float, default=0.0, metavar="S", help="seconds until a new table is ready")
    add("--index-ready-after", type=float, default=0.0, metavar="S", help="seconds until a new search index is ready")
    add("--index-lag", type=float, default=0.0, metavar="S", help="seconds from a write until search sees it")
    add("--replica-lags", type=_floats, default=(0.0,), metavar="S,S", help="more lag, one number per index replica")
    add("--clock-skew", type=float, default=0.0, metavar="S", help="seconds that the server's clock is ahead")
    return parser


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _serve(args: argparse.Namespace) -> int:
    logging.basicConfig(level=args.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("tablestore").setLevel(logging.ERROR)  # the SDK warns at import that it has no C++ codec
    from .emulator import Options, run
    from .faults import Faults, InvalidFault
    from .protocol.auth import access_keys
    from .storage.sqlite_storage import StorageError, StorageInUse

    faults = Faults()
    try:
        faults.change(
            {
                "seed": args.seed,
                "rules": [json.loads(text) for text in args.fault],
                "table_ready_after": args.table_ready_after,
                "index_ready_after": args.index_ready_after,
                "index_lag": args.index_lag,
                "replica_lags": args.replica_lags,
                "clock_skew": args.clock_skew,
            }
        )
        credentials = access_keys(args.access_key)
    except (InvalidFault, ValueError, TypeError) as e:
        print(f"tablestore-emulator: {e}", file=sys.stderr)
        return EXIT_USAGE
    options = Options(
        host=args.host,
        port=args.port,
        port_fallback=args.port_fallback,
        data=args.data,
        instance=args.instance,
        credentials=credentials,
        faults=faults,
        ready_file=args.ready_file,
        exit_with_parent=args.exit_with_parent,
    )
    try:
        run(options)
    except StorageInUse as e:
        print(f"tablestore-emulator: {e}", file=sys.stderr)
        return EXIT_LOCKED
    except (StorageError, OSError) as e:
        print(f"tablestore-emulator: {e}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _dump(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tablestore-emulator dump", description="Print a table's rows as JSON lines.")
    parser.add_argument("table", nargs="?", help="the table (none: list the tables)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(arguments)
    logging.getLogger("tablestore").setLevel(logging.ERROR)
    from .storage.dump import dump_rows, dump_tables
    from .storage.sqlite_storage import StorageError

    try:
        for line in dump_rows(args.data, args.table) if args.table else dump_tables(args.data):
            print(line)
    except (StorageError, OSError) as e:
        print(f"tablestore-emulator: {e}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _version() -> str:
    for package in ("tablestore-emulator", "tablestore-openmemory-mcp"):  # alone, or inside the memory server's wheel
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return "unknown"
