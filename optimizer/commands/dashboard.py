"""`dashboard STUDY`: optuna-dashboard on a copy of a study, on this machine alone."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.commands import AsJson, command, complain, say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.simple_server import WSGIServer
    from wsgiref.types import WSGIApplication

# The usual port of optuna-dashboard.
_PORT = 8080

_HOST = "127.0.0.1"


@command
def dashboard(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY", help="A study, its folder or its database; it may be running.")
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="The port to listen on; 0 takes a free one.")
    ] = _PORT,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST", help="127.0.0.1 and no other: the dashboard asks nobody for a password."
        ),
    ] = _HOST,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = False,
    task: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The task, where no study.yaml lies beside the results."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a study in optuna-dashboard, until Ctrl-C.

    It is shown a copy in memory, which follows the study while that runs. The study's own database is only read.
    """
    _check_host(host)
    _check_library()
    from optimizer.dashboard import Dashboard
    from optimizer.errors import InputError, Problem
    from optimizer.viewing import open_view

    with open_view(study, task=task) as view:
        if view.archive is None:
            raise InputError([Problem(file=str(study), message="there is no study.db here to look at")])
        with _server(port, Dashboard(view)) as server:
            address = f"http://{_HOST}:{server.server_port}/dashboard/studies/0"
            if as_json:
                say_json({"url": address, "study": view.name, "trials": len(view.trials)})
            else:
                say(f"{view.name}, {len(view.trials)} trials: {address}")
                complain("a copy of the study, for this machine alone; Ctrl-C ends it")
            sys.stdout.flush()  # whoever waits for the address may read a pipe
            for sentence in view.missing:
                complain(f"note: {sentence}")
            _serve(server, address if browser else None)


def _check_host(host: str) -> None:
    """Refuse to listen where others can reach it.

    Raises:
        InputError: When it is another host.
    """
    from optimizer.errors import InputError, Problem

    if host not in (_HOST, "localhost"):
        message = (
            f"expected {_HOST}, found {host!r}: the dashboard has no passwords, and whoever reaches it reads the data of "
            "the study; from another machine use a tunnel, such as `ssh -L`"
        )
        raise InputError([Problem(file="", field="--host", message=message)])


def _check_library() -> None:
    """Refuse without optuna-dashboard.

    Raises:
        InputError: When it is not installed.
    """
    from importlib.util import find_spec

    from optimizer.errors import InputError, Problem

    if find_spec("optuna_dashboard") is None:
        message = (
            "needs optuna-dashboard: install the extra `dashboard`; `show --history` and `report` do without"
        )
        raise InputError([Problem(file="", message=message)])


@contextlib.contextmanager
def _server(port: int, app: "WSGIApplication") -> "Iterator[WSGIServer]":
    """Listen on a port of this machine.

    Raises:
        InputError: When the port is taken.
    """
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from optimizer.errors import InputError, Problem

    class Server(ThreadingMixIn, WSGIServer):
        """Answers each request in a thread, none of which outlives the command."""

        daemon_threads = True

    class Handler(WSGIRequestHandler):
        """Logs no request."""

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
            del format, args

        def address_string(self) -> str:
            return str(self.client_address[0])

    try:
        server = Server((_HOST, port), Handler)
    except OSError as error:
        message = f"cannot listen on {_HOST}:{port}: {error.strerror}; --port 0 takes a free one"
        raise InputError([Problem(file="", field="--port", message=message)]) from error
    server.set_app(app)
    try:
        yield server
    finally:
        server.server_close()


def _serve(server: "WSGIServer", address: str | None) -> None:
    """Answer until Ctrl-C or SIGTERM, which are the way to end it: no mistake of anybody's."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    if address is not None:
        import webbrowser

        webbrowser.open(address)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        complain("ended")
    finally:
        signal.signal(signal.SIGTERM, before)
