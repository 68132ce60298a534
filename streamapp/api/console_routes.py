"""The console's page: three files without data, so anyone may load them.

What they show takes a key.
"""

from importlib import resources
from typing import Final

from fastapi import APIRouter, Response

from streamapp.api.access import GuardedRoute, takes

router = APIRouter(route_class=GuardedRoute)

_KINDS: Final = {
    "console.html": "text/html; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "draw.js": "text/javascript; charset=utf-8",
}
_HEADERS: Final = {
    # Nothing from elsewhere, nothing inline: a name in a payment can't become code.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _add(path: str, name: str) -> None:
    content = (resources.files("streamapp.api") / "page" / name).read_bytes()

    @router.get(path, include_in_schema=False, openapi_extra=takes(None))
    async def page() -> Response:
        return Response(content, headers=_HEADERS, media_type=_KINDS[name])


_add("/console", "console.html")
for _name in ("console.css", "console.js", "draw.js"):
    _add(f"/console/{_name}", _name)
