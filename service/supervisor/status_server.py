"""What operators ask over HTTP: ``/livez``, ``/readyz`` and ``/metrics``."""

import json
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from service import metrics
from service.addresses import family
from service.supervisor.readiness import ServerState

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10  # for one request of a slow reader


class _ProcessCollector(Collector):
    """Memory of every process, read when scraped."""

    def __init__(self, ask: Callable[[], ServerState]) -> None:
        self._ask = ask

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Called by prometheus-client for each scrape."""
        memory = GaugeMetricFamily(*metrics.PROCESS_MEMORY, labels=["process"])
        up = GaugeMetricFamily(*metrics.PROCESS_UP, labels=["process"])
        for process in self._ask().processes:
            up.add_metric([process.name], float(process.is_started))
            if process.pid and (own := unshared_bytes(process.pid)) is not None:
                memory.add_metric([process.name], own)
        yield memory
        yield up


def unshared_bytes(pid: int) -> int | None:
    """A process's private resident memory (USS), in bytes; None when it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    kibibytes = (int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return 1024 * sum(kibibytes)


class StatusServer:
    """Answers probes and scrapes in its own threads; asks the supervisor's loop."""

    def __init__(self, host: str, port: int, ask: Callable[[], ServerState]) -> None:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # pyright: ignore
        registry.register(_ProcessCollector(ask))

        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT_S

            def do_GET(self) -> None:
                try:
                    self._answer()
                except TimeoutError:  # the supervisor's loop does not answer: not live
                    self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"supervisor hangs\n")

            do_HEAD = do_GET  # noqa: N815, the name that http.server looks for

            def _answer(self) -> None:
                path = self.path.partition("?")[0].rstrip("/")
                if path == "/metrics":
                    self._send(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif path == "/livez":
                    ask()
                    self._send(HTTPStatus.OK, "text/plain", b"ok\n")
                elif path == "/readyz":
                    state = ask()
                    code = HTTPStatus.OK if state.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
                    self._send(code, "application/json", _as_json(state))
                else:
                    self._send(
                        HTTPStatus.NOT_FOUND,
                        "text/plain",
                        b"there are /livez, /readyz and /metrics\n",
                    )

            def _send(self, code: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                logger.debug(format, *args)

        class Server(ThreadingHTTPServer):
            address_family = family(host)
            daemon_threads = True

        self._server = Server((host, port), Handler)
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _as_json(state: ServerState) -> bytes:
    content = {
        "ready": state.is_ready,
        "reason": state.reason,
        "models": state.models,
        "processes": {
            process.name: "up" if process.is_started else "starting" for process in state.processes
        },
    }
    return json.dumps(content, indent=2).encode() + b"\n"
