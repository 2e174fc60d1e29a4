"""The command: parse, load the settings, compose, serve. Imports as little as it can before it listens."""

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from . import __version__, proxy_variables
from .commands.catalogue import COMMANDS, INTERRUPTED, UNUSABLE, parsed, summaries
from .settings import APP_NAME, ConfigurationError, Settings

if TYPE_CHECKING:
    from .composition import Composition

DESCRIPTION = (
    "Long-term memory for MCP clients, kept in Alibaba Cloud Tablestore or, without an account, in a local store."
)
EPILOG = "Everything else is set by environment variables; see the README. With none set, it runs on the local store."


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Run the command. Exits 2 with one line per mistake if the configuration cannot be used."""
    given = sys.argv[1:] if argv is None else argv
    try:
        if given and given[0] in COMMANDS:
            _run(given[0], given[1:], environ)
        else:
            arguments = _parser().parse_args(given)
            _serve(_settings(environ), arguments.transport, environ)
    except ConfigurationError as e:
        _fail(e.lines)


def _settings(environ: Mapping[str, str]) -> Settings:
    """Those in `environ`, in which HTTP clients can be made too, if any is needed. Raises ConfigurationError."""
    try:
        settings = Settings.load(environ)
    except ConfigurationError as e:
        raise ConfigurationError([*e.lines, *proxy_variables.mistakes(environ)]) from None
    if wrong := proxy_variables.mistakes(environ, calls_others=settings.calls_others):
        raise ConfigurationError(wrong)
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=APP_NAME,
        description=DESCRIPTION,
        epilog=f"commands (each has --help):\n{summaries()}\n\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{APP_NAME} {__version__}")
    parser.add_argument(
        "--transport",
        choices=["sse", "http", "stdio"],
        default="sse",  # as in release 1.x
        help="sse: an HTTP server for SSE and Streamable HTTP clients (default); http: Streamable HTTP alone; "
        "stdio: a child process of the client",
    )
    # Only for --help and for the message about a name that does not exist: main() has looked for the others.
    parser.add_argument("command", nargs="?", choices=list(COMMANDS), metavar="COMMAND", help="in place of serving")
    return parser


def _run(name: str, argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """A command besides serving. Its result is the exit status."""
    module, arguments = parsed(name, argv)
    settings = _settings(environ)
    from .commands.session import Session
    from .commands.terminal import Terminal
    from .errors import ServiceError

    session = Session(settings, environ, Terminal())
    try:
        status = module.run(arguments, session)
    except (ServiceError, ValueError) as e:
        session.terminal.complain(f"{APP_NAME}: {e}")
        status = UNUSABLE
    except KeyboardInterrupt:
        session.terminal.complain(f"{APP_NAME}: stopped half-way; the same command goes on from there.")
        status = INTERRUPTED
    finally:
        session.close()
    raise SystemExit(status)


def _serve(settings: Settings, transport: str, environ: Mapping[str, str]) -> None:
    from .server.listening.sockets import tell_early_end

    tell_early_end()
    from .composition import Composition, check_place

    check_place(settings)
    composition = Composition(settings)
    if transport == "stdio":
        _serve_stdio(settings, composition, environ)
    else:
        _serve_http(settings, composition, environ, sse=transport == "sse")
    composition.close()


def _serve_http(settings: Settings, composition: "Composition", environ: Mapping[str, str], *, sse: bool) -> None:
    from .server.listening.sockets import EVERYWHERE, listen

    host = settings.server_host if "server_host" in settings.model_fields_set else EVERYWHERE
    try:
        sockets = listen(host, settings.server_port)
    except OSError as e:
        _fail([f"SERVER_HOST={settings.server_host} SERVER_PORT={settings.server_port} cannot be used: {e.strerror}."])
    # From here on clients can connect; they wait while the MCP SDK is imported.
    with _objects_that_stay():
        from .server.app import App
        from .server.listening.serve import serve
        from .server.logs import configure
        from .server.startup.banner import banner

    configure(settings.log_level)
    _tell_of_release_1x(settings, composition)
    app = App(settings, composition, sse=sse)
    if settings.fc_function_name:
        from .fc.deployment_notice import welcome
        from .fc.host import Host

        print(welcome(settings), flush=True)
        serve(app, sockets, settings, Host(app, composition))
        return
    print(banner(settings, "sse" if sse else "http", environ, port=sockets[0].getsockname()[1]), flush=True)
    serve(app, sockets, settings, started=composition.begin_loading)


def _serve_stdio(settings: Settings, composition: "Composition", environ: Mapping[str, str]) -> None:
    with _objects_that_stay():
        from .server.logs import configure
        from .server.startup.banner import banner
        from .server.transports.stdio import serve

    configure(settings.log_level)
    print(banner(settings, "stdio", environ), file=sys.stderr, flush=True)
    _tell_of_release_1x(settings, composition)
    serve(settings, composition.memory)


@contextlib.contextmanager
def _objects_that_stay() -> Iterator[None]:
    """For large imports: their 130,000 objects live as long as the process. To look through them again and again while
    they are made would take a seventh of the imports' time, and to do so later would stop the event loop."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _tell_of_release_1x(settings: Settings, composition: "Composition") -> None:
    if settings.cloud:  # release 1.x knows no other place
        from .server.startup.legacy_notice import look_later

        look_later(composition.legacy_notice)


def _fail(lines: Sequence[str]) -> NoReturn:
    for line in lines:
        print(f"{APP_NAME}: {line}", file=sys.stderr)
    raise SystemExit(2)
