"""Every route is denied to whoever has no right to it."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import ValidationError

from streamapp.api.access import GuardedRoute, Scope, takes
from streamapp.api.app import bare_app, routers
from streamapp.api.openapi import document
from streamapp.api.settings import JwtSettings
from tests.api.parts import EC_KEY, NOW, RSA_KEY, Api, token

PAGES = {"/console", "/console/console.css", "/console/console.js", "/console/draw.js"}
OPEN = {"/healthz", "/readyz", *PAGES}
ROUTES = [
    (method, route.path, (route.openapi_extra or {})["x-streamapp-scope"])
    for router in routers()
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
GUARDED = [one for one in ROUTES if one[2] != "public"]


def _other_scopes(scope: str) -> list[Scope]:
    return [one for one in Scope if one != scope]


def _unsigned(_api: Api, _scope: str) -> str:
    _header, claims, _ = token().split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "k1"}).encode())
    return f"{none.decode().rstrip('=')}.{claims}."


def _signed_by_public_key(_api: Api, _scope: str) -> str:
    """The trick of old: HS256 with the public key as its secret."""
    return token(key="a public key is no secret" * 2, algorithm="HS256")


def _revoked(api: Api, scope: str) -> str:
    made = api.key(Scope(scope))
    api.key_file.revoke(made.split("_")[1], NOW)
    api.clock.now_s += 1.0
    return made


Denied = Callable[[Api, str], str | None]
DENIED: dict[str, tuple[int, Denied]] = {
    "no key": (401, lambda _api, _scope: None),
    "wrong secret": (401, lambda api, scope: api.key(Scope(scope))[:-4] + "AAAA"),
    "unknown key": (401, lambda _api, _scope: "sak_0123456789abcdef_" + "A" * 43),
    "no key at all": (401, lambda _api, _scope: "sak_"),
    "expired key": (401, lambda api, scope: api.key(Scope(scope), days=0)),
    "revoked key": (401, _revoked),
    "other scopes": (403, lambda api, scope: api.key(*_other_scopes(scope))),
    "no scope": (403, lambda api, _scope: api.key()),
    "expired token": (401, lambda _api, _scope: token(exp=1)),
    "endless token": (401, lambda _api, _scope: token(exp=None)),
    "token for others": (401, lambda _api, _scope: token(aud="another")),
    "token by others": (401, lambda _api, _scope: token(iss="https://another.example")),
    "token of nobody": (401, lambda _api, _scope: token(sub=None)),
    "token without scopes": (403, lambda _api, _scope: token(scopes=None)),
    "token, other scopes": (403, lambda _api, scope: token(" ".join(_other_scopes(scope)))),
    "no signature": (401, _unsigned),
    "other algorithm": (401, _signed_by_public_key),
    "algorithm not listed": (401, lambda _api, _scope: token(algorithm="RS512")),
    "another's key": (401, lambda _api, _scope: token(key=EC_KEY, algorithm="ES256", kid="k1")),
    "unknown key id": (401, lambda _api, _scope: token(kid="k9")),
    "signature of another key": (401, lambda _api, _scope: token(key=EC_KEY, algorithm="ES256")),
    "no token": (401, lambda _api, _scope: "a.b.c"),
}


def _path(template: str) -> str:
    return re.sub(r"{\w+}", "0" * 16, template)


def test_only_these_routes_are_open() -> None:
    """A new route is guarded, or somebody changes this list."""
    assert OPEN == {path for _, path, scope in ROUTES if scope == "public"}
    assert len(GUARDED) > 2
    documented = set(document(bare_app())["paths"])
    assert documented == {path for _, path, _ in ROUTES} - PAGES


@pytest.mark.parametrize("why", DENIED)
@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_denied(api: Api, method: str, path: str, scope: str, why: str) -> None:
    """401 where nobody knows the caller, 403 where the caller may do other things."""
    expected, bearer = DENIED[why]
    answer = api.ask(method, _path(path), bearer(api, scope))
    assert expected == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert (expected == 401) == ("www-authenticate" in answer.headers)
    assert [] == api.publisher.records


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_admitted(api: Api, method: str, path: str, scope: str) -> None:
    """The scope alone opens a route, by key and by token of either algorithm."""
    api.live.stopping.set()  # the stream of events would never end
    for bearer in (
        api.key(Scope(scope)),
        token(scope),
        token(scope, key=EC_KEY, algorithm="ES256", kid="k2"),
    ):
        assert api.ask(method, _path(path), bearer).status_code not in (401, 403, 429, 500)


def test_a_route_without_scope_can_not_be_made() -> None:
    """Deny by default: forgetting is an error at the start, not an open door."""
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="says no scope"):
        router.get("/forgotten")(lambda: None)
    router.get("/named", openapi_extra=takes(Scope.READ))(lambda: None)


def test_metrics_can_be_opened(tmp_path: Path) -> None:
    """For a scraper on an inner network; by a setting only."""
    for is_public, status in ((False, 401), (True, 200)):
        api = Api(tmp_path, metrics_public=is_public)
        assert status == api.ask("GET", "/metrics", None).status_code


def test_keys_of_the_provider_rotate(api: Api) -> None:
    """A new key of the provider opens at once; unknown ids cause no flood of fetches."""
    ask = lambda bearer: api.ask("GET", "/metrics", bearer).status_code  # noqa: E731
    assert 200 == ask(token())
    assert 1 == api.provider.fetches
    assert [401] * 5 == [ask(token(kid="new")) for _ in range(5)]
    assert 1 == api.provider.fetches
    api.provider.keys = {"new": RSA_KEY}
    api.clock.now_s += 11
    assert 200 == ask(token(kid="new"))
    assert 401 == ask(token(kid="k1"))


def test_provider_away(api: Api) -> None:
    """Keys in hand go on for a day; without any the answer is 503, not 401."""
    ask = lambda: api.ask("GET", "/metrics", token()).status_code  # noqa: E731
    api.provider.is_away = True
    assert 503 == ask()
    api.provider.is_away = False
    api.clock.now_s += 11
    assert 200 == ask()
    api.provider.is_away = True
    api.clock.now_s += 86_000
    assert 200 == ask()
    api.clock.now_s += 1_000
    assert 503 == ask()


def test_unknown_path_is_a_problem(api: Api) -> None:
    """Also what the framework answers by itself."""
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/healthz", 405)):
        answer = api.ask(method, path, None)
        assert (status, "application/problem+json") == (
            answer.status_code,
            answer.headers["content-type"],
        )
        assert status == answer.json()["status"]


@pytest.mark.parametrize("algorithms", ["HS256", "RS256,HS256", "none", "", "RS256,", '["RS256"]'])
def test_a_shared_secret_can_not_be_configured(algorithms: str) -> None:
    """With HS256 on the list the provider's public key would do as a secret."""
    with pytest.raises(ValidationError):
        JwtSettings(algorithms=algorithms)
