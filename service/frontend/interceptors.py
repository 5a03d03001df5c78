"""The interceptor: every call passes here, and nothing else calls ``abort``.

It gives each call its deadline, turns a :class:`ServiceError` into its status and any other
exception into ``internal error``, and counts the call when it ends.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from service.frontend.call import Call
from service.frontend.dispatch.concurrency import ConcurrentRequests
from service.frontend.errors import (
    INTERNAL_ERROR,
    DeadlineExpired,
    InvalidInput,
    Overloaded,
    ServiceError,
)
from service.frontend.request_metrics import RequestMetrics

logger = logging.getLogger(__name__)

_OWN_SERVICES = ("/sightline.v1.", "/inference.GRPCInferenceService/")
_NEVER_NS = 10**18  # thirty years
_RETRY_DELAY_MS = "100"  # clients of an overloaded server wait this long, before their own backoff


class CallInterceptor(grpc.ServerInterceptor):  # pyright: ignore[reportMissingTypeArgument]
    """Wraps the methods of Sightline's own services, each once."""

    def __init__(self, max_request_s: float, request_metrics: RequestMetrics) -> None:
        self._request_metrics = request_metrics
        self._max_request_ns = int(max_request_s * 1e9)
        self._wrapped: dict[str, Any] = {}
        self.concurrent_requests = ConcurrentRequests()

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
                    _refuse_expired(call)
                    response = inner(_readable(request), context)
                except Exception as err:
                    self._abort(err, method, call, context)
                finally:
                    call.end()
                self._request_metrics.add_rpc(method, call.model, "OK")
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
        self, responses: Callable[[], Iterable[Any]], method: str, call: Call, context: Any
    ) -> Iterable[Any]:
        """Pass the responses on; count the call, and end it with a status if it fails."""
        try:
            _refuse_expired(call)
            yield from responses()
        except GeneratorExit:
            self._request_metrics.add_rpc(method, call.model, "CANCELLED")
            raise
        except Exception as err:
            self._abort(err, method, call, context)
        self._request_metrics.add_rpc(method, call.model, "OK")

    def _open(self, context: Any, limit_ns: int) -> Call:
        now_ns = time.monotonic_ns()
        remaining_s = context.time_remaining()
        if remaining_s is not None:
            limit_ns = min(limit_ns, int(remaining_s * 1e9))
        return Call(
            *(now_ns + limit_ns, now_ns, self._max_request_ns),
            on_end=context.add_callback,
            is_active=context.is_active,
            concurrent_requests=self.concurrent_requests,
        )

    def _abort(self, err: Exception, method: str, call: Call, context: Any) -> NoReturn:
        """End the call with the status of the error."""
        if isinstance(err, ServiceError):
            code, text = err.code, str(err)
            if isinstance(err, Overloaded):
                context.set_trailing_metadata((("retry-after-ms", _RETRY_DELAY_MS),))
        else:
            logger.error("unhandled error in %s", method, exc_info=err)
            code, text = grpc.StatusCode.INTERNAL, INTERNAL_ERROR
        self._request_metrics.add_rpc(method, call.model, code.name)
        context.abort(code, text)
        raise AssertionError("abort raises")


class _UnreadableRequest:
    """Replaces a request that is not a message of its type; gRPC itself would answer INTERNAL."""


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def deserialize_or_mark(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _UnreadableRequest()

    return deserialize_or_mark


def _readable(request: Any) -> Any:
    if isinstance(request, _UnreadableRequest):
        raise InvalidInput(
            "the request cannot be read; send the message that protos/sightline/v1 or"
            " protos/sightline/inference defines for this call"
        )
    return request


def _refuse_expired(call: Call) -> None:
    if call.deadline_ns <= call.received_ns:
        raise DeadlineExpired("the deadline had passed before the server read the request")
