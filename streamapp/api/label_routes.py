"""Labels: what became known of a payment, from chargebacks and reviewers."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from streamapp.api.access import GuardedRoute, Scope, takes
from streamapp.api.body import read_body
from streamapp.api.openapi import problems, schema_ref
from streamapp.api.parts import parts_of
from streamapp.domain.transaction import PAYLOAD_BYTES_MAX

router = APIRouter(route_class=GuardedRoute, tags=["labels"])


@router.post(
    "/v1/labels",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,  # without a body
    openapi_extra={
        **takes(Scope.LABEL),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema_ref("Label")}},
        },
    },
    responses={
        202: {"description": "It is on its topic."},
        **problems(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ),
    },
)
async def label(request: Request) -> Response:
    """Sends a label to its topic, from which models learn.

    The same label again changes nothing; of labels that contradict each other the one known last
    holds. A key that labels needs a scope of its own: who teaches the models decides what is found.
    """
    await parts_of(request).labels.send(await read_body(request, PAYLOAD_BYTES_MAX))
    return Response(status_code=HTTPStatus.ACCEPTED.value)
