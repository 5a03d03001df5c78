"""The asynchronous client with the face of the blocking one, for tests that hold for both."""

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sightline import AsyncClient


class Blocking:
    """An `AsyncClient` with the face of a `Client`."""

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
