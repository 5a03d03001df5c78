"""Services on loopback that follow a script, and both clients behind one face."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sightline import Client, Retry
from sightline.cli.app import app
from tests.support.blocking import Blocking
from tests.support.certificates import make_certificates
from tests.support.counter import Counter
from tests.support.loopback import serving
from tests.support.pictures import Pictures
from tests.support.script import Failure, Script

QUICK = Retry(max_attempts=4, initial_backoff_s=0.001, max_backoff_s=0.002)


@pytest.fixture
def serve() -> Callable[..., Any]:
    return serving


@pytest.fixture
def fail() -> type[Failure]:
    return Failure


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def target(script: Script, pictures: Pictures, counter: Counter) -> Iterator[str]:
    with serving(script, pictures, counter) as address:
        yield address


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a client of either kind, one that retries quickly."""

    def make(*args: Any, **options: Any) -> Any:
        return request.param(*args, **{"retries": QUICK} | options)

    return make


@pytest.fixture
def client(connect: Callable[..., Any], target: str) -> Iterator[Any]:
    with connect(target) as connected:
        yield connected


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command line, with its output."""
    monkeypatch.setenv("COLUMNS", "160")
    runner = CliRunner()
    return lambda *arguments, **options: runner.invoke(app, [str(a) for a in arguments], **options)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server for `localhost`, and a caller: PEM files made by openssl."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder
