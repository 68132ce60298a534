"""Bodies of requests, never larger or slower than stated."""

import asyncio
from http import HTTPStatus
from typing import Final

from fastapi import Request

from streamapp.api.problems import Problem

#: Time for a body to arrive: who sends slower than this holds a place for nothing.
_BODY_TIMEOUT_S: Final = 10.0


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body. Raises Problem: 413 where it is too large, 408 where it does not come."""
    too_large = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {bytes_max} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > bytes_max:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for part in request.stream():
                content += part
                if len(content) > bytes_max:
                    raise too_large
    except TimeoutError:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from None
    return bytes(content)
