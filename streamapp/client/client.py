"""A typed client of the HTTP API: transactions in, verdicts out, problems as errors.

    with Client("http://127.0.0.1:8090", key) as client:
        outcome = client.score(payment)

Nothing is repeated by itself: an error says whether and when to try again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import msgspec

from streamapp.domain.label import Label
from streamapp.domain.transaction import Transaction
from streamapp.domain.verdict import Severity, Verdict

#: Above the API's own limit for a verdict, so that it is the one to say what became of it.
_TIMEOUT_S: Final = 30.0
_PAGE: Final = 200

Payment = Transaction | Mapping[str, Any]


class ApiError(Exception):
    """The API refused or failed. retry_after_s: when to come again, where that helps."""

    def __init__(self, problem: "_Problem", retry_after_s: int | None) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")
        self.status = problem.status
        self.reason = problem.reason
        self.field = problem.field
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Pending:
    """Taken, without a verdict yet: `Client.verdict(tx_id)` will find it."""

    tx_id: str


class _Problem(msgspec.Struct, frozen=True):
    status: int
    title: str
    detail: str = ""
    reason: str = ""
    field: str = ""


class _Result(msgspec.Struct, frozen=True):
    status: int
    verdict: Verdict | None = None
    pending: Pending | None = None
    problem: _Problem | None = None

    def outcome(self) -> Verdict | Pending | ApiError:
        if self.problem is not None:
            return ApiError(self.problem, None)
        found = self.verdict or self.pending
        assert found is not None, "a result has a verdict, a link or a problem"
        return found


class _Results(msgspec.Struct, frozen=True):
    results: list[_Result]


class _Page(msgspec.Struct, frozen=True):
    verdicts: list[Verdict]
    next: str | None


class Client:
    """One API, one key. Every method raises ApiError, or httpx.HTTPError where nobody answers."""

    def __init__(self, url: str, key: str, timeout_s: float = _TIMEOUT_S) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def score(self, payment: Payment) -> Verdict | Pending:
        """The stream's verdict on a payment; the same `tx_id` again gives the same one."""
        answer = self._asked("POST", "/v1/score", content=_encoded(payment))
        if answer.status_code == httpx.codes.ACCEPTED:
            return Pending(answer.json()["tx_id"])
        return msgspec.json.decode(answer.content, type=Verdict)

    def score_batch(self, payments: Sequence[Payment]) -> list[Verdict | Pending | ApiError]:
        """What became of each, in order; 1,000 at most."""
        body = msgspec.json.encode({"transactions": [msgspec.Raw(_encoded(p)) for p in payments]})
        answer = self._asked("POST", "/v1/score/batch", content=body)
        found = msgspec.json.decode(answer.content, type=_Results)
        return [one.outcome() for one in found.results]

    def what_if(self, payment: Payment) -> Verdict:
        """What the verdict would be now; nothing is sent or changed."""
        answer = self._asked(
            "POST", "/v1/score", content=_encoded(payment), params={"what_if": "true"}
        )
        return msgspec.json.decode(answer.content, type=Verdict)

    def label(self, label: Label | Mapping[str, Any]) -> None:
        """Send what became known of a payment; again changes nothing."""
        self._asked("POST", "/v1/labels", content=_encoded(label))

    def profile(self, user_id: str) -> dict[str, Any]:
        """What the stream knows of a user: typical values, last events."""
        found: dict[str, Any] = self._asked("GET", f"/v1/users/{_path(user_id)}/profile").json()
        return found

    def erase(self, user_id: str) -> dict[str, Any]:
        """Have a user forgotten; what remains of them, where, and until when. Takes scope admin."""
        found: dict[str, Any] = self._asked("DELETE", f"/v1/users/{_path(user_id)}/profile").json()
        return found

    def verdict(self, tx_id: str, user_id: str | None = None) -> Verdict:
        """The first verdict on a transaction; `user_id` where several users have this `tx_id`."""
        answer = self._asked("GET", f"/v1/verdicts/{_path(tx_id)}", params={"user_id": user_id})
        return msgspec.json.decode(answer.content, type=Verdict)

    def explain(self, tx_id: str, user_id: str | None = None) -> dict[str, Any]:
        """The first verdict, what is typical of its user, and whether its bytes came again."""
        path = f"/v1/explain/{_path(tx_id)}"
        found: dict[str, Any] = self._asked("GET", path, params={"user_id": user_id}).json()
        return found

    def user_verdicts(self, user_id: str) -> Iterator[Verdict]:
        """Verdicts on a user's transactions, newest event time first."""
        return self._pages(f"/v1/users/{_path(user_id)}/verdicts", {})

    def anomalies(
        self,
        *,
        severity: Severity | None = None,
        user_id: str | None = None,
        merchant_id: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[Verdict]:
        """Anomalies, newest event time first. Times: RFC 3339, `since` included, `until` not."""
        wanted = {
            "severity": severity,
            "user_id": user_id,
            "merchant_id": merchant_id,
            "since": since,
            "until": until,
        }
        return self._pages("/v1/anomalies", wanted)

    def stats(self) -> dict[str, Any]:
        """Rates, latency, severities, scores and lag as they are now."""
        found: dict[str, Any] = self._asked("GET", "/v1/stats").json()
        return found

    def _pages(self, path: str, wanted: Mapping[str, str | None]) -> Iterator[Verdict]:
        cursor: str | None = None
        while True:
            params = {**wanted, "limit": str(_PAGE), "cursor": cursor}
            answer = self._asked("GET", path, params=params)
            page = msgspec.json.decode(answer.content, type=_Page)
            yield from page.verdicts
            cursor = page.next
            if cursor is None:
                return

    def _asked(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        params: Mapping[str, str | None] | None = None,
    ) -> httpx.Response:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        answer = self._http.request(method, path, content=content, params=given)
        if answer.is_error:
            raise _error(answer)
        return answer


def _encoded(payment: Payment | Label) -> bytes:
    """JSON; fields that say nothing are left out."""
    fields = msgspec.to_builtins(payment)
    return msgspec.json.encode({name: one for name, one in fields.items() if one is not None})


def _path(text: str) -> str:
    return quote(text, safe="")


def _error(answer: httpx.Response) -> ApiError:
    after = answer.headers.get("Retry-After", "")
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:  # of a proxy between
        problem = _Problem(answer.status_code, answer.reason_phrase)
    return ApiError(problem, int(after) if after.isdecimal() else None)
