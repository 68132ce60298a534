"""Liveness, readiness and metrics over HTTP, answered by the worker's own event loop.

Liveness needs no extra check: a loop that hangs does not answer.
"""

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class HealthServer:
    """Serves /healthz, /readyz and /metrics."""

    def __init__(
        self,
        host: str,
        port: int,
        why_not_ready: Callable[[], str | None],
        more: Iterable[web.RouteDef] = (),
    ) -> None:
        """`more`: routes of others."""
        self._why_not_ready = why_not_ready
        self._host = host
        self._port = port
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_routes(more)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> int:
        """Listen; returns the port. Raises OSError where it is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        why = self._why_not_ready()
        if why is None:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"not ready: {why}\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(), headers=headers)
