"""A local HTTP server that receives webhooks and answers as told."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streamapp.broker.network import free_port


@dataclass
class Request:
    """One POST as it came in."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


class Receiver:
    """Keeps requests; `answers` are (status, headers) for the next ones, then 204."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook?room=7"
        self.requests: list[Request] = []
        self.accepted: list[Request] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.start()

    def start(self) -> None:
        """Listen."""
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def take(self, request: Request) -> tuple[int, dict[str, str]]:
        """Keep the request; the answer to it."""
        self.requests.append(request)
        status, headers = self.answers.pop(0) if self.answers else (204, {})
        if status < 300:
            self.accepted.append(request)
        return status, headers


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0, one request a connection: a stopped receiver leaves no open one behind.
    receiver: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:  # its sender was cut off
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.receiver.take(Request(self.path, headers, body))
        self.send_response(status)
        for name, value in answer.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""
