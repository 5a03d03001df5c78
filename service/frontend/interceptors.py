"""The door: every call passes here, and nothing else calls ``abort``.

It gives each call its deadline, turns a :class:`ServiceError` into its status and everything
unknown into ``internal error``, and counts the call when it ends.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from service.frontend.dispatch.concurrency import Callers
from service.frontend.errors import (
    CALLER_CANCELLED,
    INTERNAL_ERROR,
    CallerLeft,
    DeadlineExpired,
    InvalidInput,
    Overloaded,
    ServiceError,
)
from service.frontend.request_metrics import Tally

logger = logging.getLogger(__name__)

_OWN_SERVICES = ("/sightline.v1.", "/inference.GRPCInferenceService/")
_NEVER_NS = 10**18  # thirty years
_RETRY_DELAY_MS = "100"  # what an overloaded server asks of its callers, before their own backoff


@dataclass(slots=True, eq=False)
class Call:
    """What a servicer knows of a call, or of one request of a stream, beside the request."""

    deadline_ns: int  # CLOCK_MONOTONIC; of a stream without one: far away
    received_ns: int
    max_request_ns: int  # the most that one request may take, on a stream, too
    on_end: Callable[[Callable[[], None]], bool]  # registers what to do when it ends; False: it has
    is_active: Callable[[], bool]  # False: nobody waits for it any more
    callers: Callers  # of this frontend
    model: str = ""  # the resolved name, for the metrics; never what the client wrote
    _company: set[object] | None = None  # those who ask the same model, while it is one of them

    def part(self, on_end: Callable[[Callable[[], None]], bool]) -> "Call":
        """The share of one request of a stream: its own time, and its own cancellation."""
        now_ns = time.monotonic_ns()
        deadline_ns = min(self.deadline_ns, now_ns + self.max_request_ns)
        return Call(
            *(deadline_ns, now_ns, self.max_request_ns, on_end, self.is_active),
            callers=self.callers,
            model=self.model,
        )

    def count_for(self, model_id: int) -> None:
        """Others who ask this model may expect it to share a run with them, until its end."""
        self._company = self.callers.of(model_id)
        self._company.add(self)

    def end(self) -> None:
        """It is answered, or given up."""
        if self._company is not None:
            self._company.discard(self)

    def check(self) -> None:
        """Before something that costs: whether it is still of use.

        Raises:
            DeadlineExpired: its time is over.
            CallerLeft: nobody waits for it.
        """
        if self.deadline_ns <= time.monotonic_ns():
            raise DeadlineExpired("the deadline passed before the request was read; allow more")
        if not self.is_active():
            raise CallerLeft(CALLER_CANCELLED)


class CallContext(grpc.ServicerContext):
    """For annotations: a gRPC context that the door has given a :class:`Call`."""

    call: Call


class Door(grpc.ServerInterceptor):  # pyright: ignore[reportMissingTypeArgument]
    """Wraps the methods of Sightline's own services, each once."""

    def __init__(self, max_request_s: float, tally: Tally) -> None:
        self._tally = tally
        self._max_request_ns = int(max_request_s * 1e9)
        self._wrapped: dict[str, Any] = {}
        self.callers = Callers()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Called by gRPC for every RPC."""
        method: str = handler_call_details.method
        if not method.startswith(_OWN_SERVICES):
            return continuation(handler_call_details)
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = continuation(handler_call_details)
            if handler is None:  # no such method: gRPC answers UNIMPLEMENTED
                return None
            wrapped = self._wrapped[method] = self._wrap(handler, method.rpartition("/")[2])
        return wrapped

    def _wrap(self, handler: Any, method: str) -> Any:
        serialisation = {
            "request_deserializer": _lenient(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            inner = handler.unary_unary

            def unary_unary(request: Any, context: Any) -> Any:
                call = context.call = self._open(context, self._max_request_ns)
                try:
                    _refuse_late(call)
                    response = inner(_readable(request), context)
                except Exception as err:
                    self._abort(err, method, call, context)
                finally:
                    call.end()
                self._tally.request(method, call.model, "OK")
                return response

            return grpc.unary_unary_rpc_method_handler(unary_unary, **serialisation)
        if handler.unary_stream:
            inner_unary = handler.unary_stream

            def unary_stream(request: Any, context: Any) -> Iterable[Any]:
                call = context.call = self._open(context, self._max_request_ns)
                yield from self._stream(
                    lambda: inner_unary(_readable(request), context), method, call, context
                )

            return grpc.unary_stream_rpc_method_handler(unary_stream, **serialisation)
        inner_stream = handler.stream_stream

        def stream_stream(requests: Iterator[Any], context: Any) -> Iterable[Any]:
            call = context.call = self._open(context, _NEVER_NS)
            yield from self._stream(
                lambda: inner_stream(map(_readable, requests), context), method, call, context
            )

        return grpc.stream_stream_rpc_method_handler(stream_stream, **serialisation)

    def _stream(
        self, answers: Callable[[], Iterable[Any]], method: str, call: Call, context: Any
    ) -> Iterable[Any]:
        """Pass the answers on; count the call, and end it with a status where they fail."""
        try:
            _refuse_late(call)
            yield from answers()
        except GeneratorExit:
            self._tally.request(method, call.model, "CANCELLED")
            raise
        except Exception as err:
            self._abort(err, method, call, context)
        self._tally.request(method, call.model, "OK")

    def _open(self, context: Any, limit_ns: int) -> Call:
        now_ns = time.monotonic_ns()
        remaining_s = context.time_remaining()
        if remaining_s is not None:
            limit_ns = min(limit_ns, int(remaining_s * 1e9))
        return Call(
            *(now_ns + limit_ns, now_ns, self._max_request_ns),
            on_end=context.add_callback,
            is_active=context.is_active,
            callers=self.callers,
        )

    def _abort(self, err: Exception, method: str, call: Call, context: Any) -> NoReturn:
        """End the call with the status that belongs to the error."""
        if isinstance(err, ServiceError):
            code, text = err.code, str(err)
            if isinstance(err, Overloaded):
                context.set_trailing_metadata((("retry-after-ms", _RETRY_DELAY_MS),))
        else:
            logger.error("unhandled error in %s", method, exc_info=err)
            code, text = grpc.StatusCode.INTERNAL, INTERNAL_ERROR
        self._tally.request(method, call.model, code.name)
        context.abort(code, text)
        raise AssertionError("abort raises")


class _Garbage:
    """Stands for a request that is no message of its type: gRPC itself would call that INTERNAL."""


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def deserialize_or_mark(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Garbage()

    return deserialize_or_mark


def _readable(request: Any) -> Any:
    if isinstance(request, _Garbage):
        raise InvalidInput(
            "the request cannot be read; send what protos/sightline/v1 or"
            " protos/sightline/inference has for this call"
        )
    return request


def _refuse_late(call: Call) -> None:
    if call.deadline_ns <= call.received_ns:
        raise DeadlineExpired("the deadline had passed before the server read the request")
