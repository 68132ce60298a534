"""The API's parts for tests: a clock that stands still, a publisher that keeps what it is given."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from streamapp.api.access import Scope
from streamapp.api.app import create_app
from streamapp.api.audit import AuditLog
from streamapp.api.erasing import Erasing
from streamapp.api.figures import Figures
from streamapp.api.guard import Guard
from streamapp.api.keys import KeyFile, KeyWatch
from streamapp.api.labels import LabelTopic
from streamapp.api.limits import Limits
from streamapp.api.live import Live
from streamapp.api.models import Models
from streamapp.api.owners import Owners
from streamapp.api.parts import Parts
from streamapp.api.pressure import Pressure
from streamapp.api.publisher import Headers, PublishError
from streamapp.api.recent import RecentVerdicts
from streamapp.api.scoring import Scoring
from streamapp.api.settings import ApiSettings, JwtSettings
from streamapp.api.tokens import TokenVerifier
from streamapp.api.waiting import Waiting
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.policy import Policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "of workers and API, 32 characters"
ISSUER, AUDIENCE = "https://issuer.example", "streamapp"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass
class Clock:
    """Seconds that pass when they are told to."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakePublisher:
    """Keeps records in order; refuses them while told to."""

    is_away: bool = False
    on_publish: Callable[[], None] = lambda: None
    records: list[tuple[str, bytes, bytes, Headers]] = field(default_factory=list)

    async def publish(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        """Take a record."""
        if self.is_away:
            raise PublishError("away")
        self.records.append((topic, key, value, headers))
        self.on_publish()


@dataclass
class FakeGroup:
    """Workers that answer as told: `owners` by partition, answers by address and path."""

    owners: dict[int, str] = field(default_factory=dict)
    answers: dict[str, list[httpx.Response]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    on_look: Callable[[], None] = lambda: None

    def look_again(self) -> None:
        """The API has met an answer that is no longer so."""
        self.on_look()

    def transport(self) -> httpx.MockTransport:
        """The way to the workers; one without answers left refuses the connection."""

        def answer(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            left = self.answers.get(str(request.url), [])
            if not left:
                raise httpx.ConnectError("refused")
            return left.pop(0) if len(left) > 1 else left[0]

        return httpx.MockTransport(answer)


@dataclass
class Provider:
    """An identity provider: its published keys, and how often they were asked for."""

    keys: dict[str, Any] = field(default_factory=lambda: {"k1": RSA_KEY, "k2": EC_KEY})
    fetches: int = 0
    is_away: bool = False

    async def fetch(self) -> bytes:
        """The keys as a JWK set."""
        self.fetches += 1
        if self.is_away:
            raise httpx.ConnectError("away")
        return json.dumps({"keys": [_jwk(name, key) for name, key in self.keys.items()]}).encode()


async def _configs(_kafka: KafkaSettings, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """What a broker says of its topics: kept for a week, segments for an hour."""
    return {name: {"retention.ms": "604800000", "segment.ms": "3600000"} for name in names}


def token(
    scopes: str | None = "read score admin",
    key: Any = RSA_KEY,
    algorithm: str = "RS256",
    kid: str = "k1",
    **claims: Any,
) -> str:
    """A token as the provider makes it, good until something is changed."""
    content = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "service-1",
        "exp": datetime.now(UTC) + timedelta(hours=1),
        "scope": scopes,
    }
    kept = {name: value for name, value in {**content, **claims}.items() if value is not None}
    return jwt.encode(kept, key, algorithm, {"kid": kid})


class Api:
    """The application on parts of its own; `key` makes keys for it."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.clock = Clock()
        self.publisher = FakePublisher()
        self.provider = Provider()
        self.key_file = KeyFile(directory / "keys.json")
        self.settings = ApiSettings(
            keys_file=directory / "keys.json",
            jwt=JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://issuer.example/k"),
            **settings,
        )
        self.waiting = Waiting(self.settings.waiting_max)
        models = Models([default_model_dir()])
        recent = RecentVerdicts(self.settings.recent_verdicts_max)
        self.live = Live(recent, None, Figures(self.clock), self.waiting, models)
        self.group = FakeGroup()
        self.pressure = Pressure(self.settings.late_max_s, self.clock)
        self.app = create_app(self._parts())
        self.loop = asyncio.Runner()

    def _parts(self) -> Parts:
        settings = self.settings
        limits = Limits(
            settings.rate_per_s, settings.rate_burst, settings.concurrency_max, self.clock
        )
        tokens = TokenVerifier(settings.jwt, self.provider.fetch, self.clock)
        guard = Guard(KeyWatch(self.key_file, self.clock), tokens, limits, lambda: NOW)
        return Parts(
            settings=settings,
            guard=guard,
            key_file=self.key_file,
            audit=AuditLog(self.publisher.publish, "audit", lambda: NOW),
            scoring=Scoring(
                self.publisher.publish,
                self.live.known,
                self.waiting,
                "transactions",
                settings.score_timeout_s,
            ),
            labels=LabelTopic(self.publisher.publish, "labels"),
            live=self.live,
            owners=Owners(
                self.group, httpx.AsyncClient(transport=self.group.transport()), SECRET, 4, 0.5
            ),
            erasing=Erasing(
                self.publisher.publish, KafkaSettings(), TopicSettings(), "g", lambda: NOW, _configs
            ),
            policy=Policy(),
            pressure=self.pressure,
            why_not_ready=lambda: guard.failure,
            now=lambda: NOW,
        )

    def key(self, *scopes: Scope, days: float = 1.0) -> str:
        """A key with these scopes, seen by the API at once."""
        made, _ = self.key_file.create("test", frozenset(scopes), timedelta(days=days), NOW)
        self.clock.now_s += 1.0
        return made

    def ask(self, method: str, path: str, bearer: str | None, **more: Any) -> httpx.Response:
        """One request, with this bearer token."""
        return self.loop.run(self.asked(method, path, bearer, **more))

    async def asked(
        self, method: str, path: str, bearer: str | None, **more: Any
    ) -> httpx.Response:
        """The same inside the loop."""
        own = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(
                method, path, headers={**own, **more.pop("headers", {})}, **more
            )

    def close(self) -> None:
        """End its loop."""
        self.loop.close()


def actions(records: Sequence[tuple[str, bytes, bytes, Headers]]) -> list[tuple[str, str, Any]]:
    """Caller, action and target of what the audit topic holds."""
    entries = [json.loads(value) for topic, _, value, _ in records if topic == "audit"]
    return [(one["caller"], one["action"], one["target"]) for one in entries]


def _jwk(name: str, key: Any) -> dict[str, Any]:
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    made = (jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm).to_jwk(
        key.public_key(), as_dict=True
    )
    return {**made, "kid": name, "use": "sig", "alg": "RS256" if is_rsa else "ES256"}
