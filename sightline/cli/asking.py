"""What every command that asks a server has: connection options, a client, and an exit status."""

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, get_type_hints

import typer

from sightline import Client, SightlineError
from sightline.cli.options import (
    Target,
    Timeout,
    TlsCertificate,
    TlsKey,
    TlsRoot,
    UseTls,
    fail,
    tls_from,
)
from sightline.connection import DEFAULT_TARGET
from sightline.retry import DEFAULT_TIMEOUT_S

P = ParamSpec("P")


def _connection(
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    tls: UseTls = False,
    tls_root: TlsRoot = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
) -> Client:
    """The client that these options describe."""
    encryption = tls_from(tls, tls_root, tls_cert, tls_key)
    return Client(target, tls=encryption, default_timeout_s=timeout)


_CONNECTION = inspect.signature(_connection).parameters


def asks_server(command: Callable[Concatenate[Client, P], int]) -> Callable[..., None]:
    """Make a command of a function that takes a client and returns how many answers failed.

    The command has the function's options and those of the connection. Its exit status is 1 when
    an item failed, or when the server refused, which is reported in one sentence.
    """
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def run(**options: object) -> None:
        where = {name: options.pop(name) for name in _CONNECTION}
        try:
            with _connection(**where) as client:  # pyright: ignore[reportArgumentType]
                failures = command(client, **options)  # pyright: ignore[reportCallIssue]
        except SightlineError as err:
            fail(err, str(where["target"]))
        raise typer.Exit(1 if failures else 0)

    kinds = get_type_hints(_connection, include_extras=True)
    kinds |= get_type_hints(command, include_extras=True)
    parameters = [*own, *_CONNECTION.values()]
    run.__annotations__ = {p.name: kinds[p.name] for p in parameters}
    run.__signature__ = inspect.Signature(  # pyright: ignore[reportAttributeAccessIssue]
        [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
    )
    return run


@contextmanager
def usage() -> Generator[None]:
    """An argument that the client refuses is wrong usage of the command: exit status 2."""
    try:
        yield
    except (TypeError, ValueError) as err:
        raise typer.BadParameter(str(err)) from err
