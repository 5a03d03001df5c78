"""A real gRPC server on loopback whose answers follow a script, and both clients behind one face.

What the script answers is at the edge: the protocol. The real server is tested elsewhere.
"""

import asyncio
import gc
import inspect
import subprocess
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from sightline import AsyncClient, Client, Retry
from sightline.cli.app import app
from sightline.v1 import (
    classification_pb2,
    classification_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
)

QUICK = Retry(max_attempts=4, initial_backoff_s=0.001, max_backoff_s=0.002)
IDENTITY = models_pb2.ModelIdentity(name="cats", version=3, artifact_sha256="ab" * 32)
TIMING = models_pb2.Timing(
    decode_seconds=0.001,
    queue_seconds=0.002,
    run_seconds=0.003,
    total_seconds=0.007,
    batch_size=4,
    device="cpu",
)


@dataclass(frozen=True)
class Failure:
    """A status to answer with; `breaks` ends a whole stream with it, instead of one message."""

    code: grpc.StatusCode
    message: str = "as the script says"
    trailers: tuple[tuple[str, str], ...] = ()
    breaks: bool = False


@dataclass
class Script(
    classification_pb2_grpc.ClassificationServiceServicer, models_pb2_grpc.ModelServiceServicer
):
    """Fails as `failures` say, one a request; then labels each photo with its own bytes."""

    failures: deque[Failure | None] = field(default_factory=deque)
    models: deque[list[models_pb2.ModelStatus]] = field(default_factory=deque)
    requests: list[classification_pb2.ClassifyRequest] = field(default_factory=list)
    deadlines_s: list[float] = field(default_factory=list)
    streams: int = 0
    ended_streams: int = 0
    alter: Callable[[Any], None] = lambda response: None  # what is done to each answer
    was_asked: threading.Event = field(default_factory=threading.Event)
    stream_ended: threading.Event = field(default_factory=threading.Event)
    answers_nothing: threading.Event = field(default_factory=threading.Event)

    def Classify(self, request, context):
        self.requests.append(request)
        self.deadlines_s.append(context.time_remaining())
        while self.answers_nothing.is_set() and context.is_active():
            time.sleep(0.01)
        if self.failures and (failure := self.failures.popleft()):
            context.set_trailing_metadata(failure.trailers)
            context.abort(failure.code, failure.message)
        response = classify(request)
        if all(result.HasField("error") for result in response.results):
            first = response.results[0].error
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, first.message)
        self.alter(response)
        return response

    def ClassifyStream(self, request_iterator, context):
        self.streams += 1
        context.add_callback(self.stream_ended.set)
        for message in request_iterator:
            self.requests.append(message.request)
            self.was_asked.set()
            if self.answers_nothing.is_set():
                continue
            failure = self.failures.popleft() if self.failures else None
            if failure is None:
                answer = classify(message.request)
                response = classification_pb2.ClassifyStreamResponse(id=message.id, response=answer)
                self.alter(response)
                yield response
            elif failure.breaks and failure.code is grpc.StatusCode.OK:
                return
            elif failure.breaks:
                context.abort(failure.code, failure.message)
            else:
                error = models_pb2.ItemError(code=failure.code.value[0], message=failure.message)
                yield classification_pb2.ClassifyStreamResponse(id=message.id, error=error)
        self.ended_streams += 1

    def ListModels(self, request, context):
        models = self.models.popleft() if len(self.models) > 1 else self.models[0]
        wanted = [m for m in models if request.task in (models_pb2.TASK_UNSPECIFIED, m.task)]
        return models_pb2.ListModelsResponse(models=wanted)

    def GetModel(self, request, context):
        for model in self.models.popleft() if len(self.models) > 1 else self.models[0]:
            if model.identity.name == request.model.name:
                return models_pb2.GetModelResponse(model=model)
        return context.abort(grpc.StatusCode.NOT_FOUND, "no such model")


def classify(request: classification_pb2.ClassifyRequest) -> classification_pb2.ClassifyResponse:
    response = classification_pb2.ClassifyResponse(model=IDENTITY, timing=TIMING)
    for image in request.images:
        result = response.results.add()
        if image.encoded.startswith(b"bad"):
            result.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            result.error.message = f"{image.encoded.decode()} is no image"
        else:
            name = image.encoded.decode("latin-1") or "pixels"
            result.classification.labels.add(name=name, index=1, score=0.75)
            result.classification.labels.add(name="other", index=0, score=0.25)
    return response


@contextmanager
def serving(
    script: Script,
    credentials: grpc.ServerCredentials | None = None,
    add: Callable[[grpc.Server], object] = lambda server: None,
    **options: int,
) -> Iterator[str]:
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[(f"grpc.{k}", v) for k, v in options.items()]
    )
    classification_pb2_grpc.add_ClassificationServiceServicer_to_server(script, server)
    models_pb2_grpc.add_ModelServiceServicer_to_server(script, server)
    add(server)
    if credentials:
        port = server.add_secure_port("localhost:0", credentials)
    else:
        port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(0).wait()


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
def target(script: Script) -> Iterator[str]:
    with serving(script) as address:
        yield address


class Blocking:
    """An `AsyncClient` with the face of a `Client`, for tests that hold for both."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._complaints: list[dict[str, Any]] = []  # what a loop otherwise only logs
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_exception_handler(
            lambda loop, context: self._complaints.append(context)
        )
        self._client = AsyncClient(*args, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        gc.collect()  # a task or a generator that was left behind complains now
        self._runner.run(asyncio.sleep(0))
        self._runner.close()
        assert not self._complaints

    def __getattr__(self, name: str) -> Any:
        return getattr(Awaited(self._client, self._runner), name)


class Awaited:
    """Something asynchronous with the face of its blocking twin."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not inspect.isroutine(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            result = value(*args, **options)
            if inspect.iscoroutine(result):
                return self._runner.run(result)
            return (
                self._drain(result) if inspect.isasyncgen(result) else Awaited(result, self._runner)
            )

        return call

    def __enter__(self) -> Any:
        self._runner.run(self._target.__aenter__())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._runner.run(self._target.__aexit__(*exc_info))

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if (result := self._runner.run(self._next_or_end(self._target))) is self:
            raise StopIteration
        return result

    def _drain(self, results: Any) -> Iterator[Any]:
        try:
            while (result := self._runner.run(self._next_or_end(results))) is not self:
                yield result
        finally:
            self._runner.run(results.aclose())

    async def _next_or_end(self, results: AsyncIterator[Any]) -> Any:
        return await anext(results, self)


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

    def openssl(*arguments: str) -> None:
        try:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed: TLS was not tested")

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    root = ["req", "-x509", *new_key, "-days", "2", "-subj", "/CN=test authority"]
    openssl(*root, "-keyout", "root.key", "-out", "root.pem")
    for name in ("server", "caller"):
        request = [
            "req",
            *new_key,
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=DNS:localhost",
        ]
        openssl(*request, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ["x509", "-req", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"]
        copied = ["-days", "2", "-copy_extensions", "copy"]
        openssl(*sign, *copied, "-in", f"{name}.csr", "-out", f"{name}.pem")
    return folder
