"""A real Redis: the program of this machine, else by Docker."""

import shutil

import redis

from tests.servers.docker import docker_answers
from tests.servers.server import ContainerServer, LocalServer, Server

IMAGE = "redis:7-alpine"
URL = "redis://127.0.0.1:{port}/0"
MISSING = "Redis is not installed: run deploy/install-test-servers.sh"


def start_redis() -> Server:
    """A Redis that answers. Raises if there is none."""
    program = shutil.which("redis-server")
    if program:
        return LocalRedis(program).start()
    if docker_answers():
        return ContainerServer(IMAGE, 6379, URL, answers).start()
    raise RuntimeError(MISSING)


def answers(url: str) -> bool:
    """Whether it answers PING; a Redis that still loads its data does not."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


class LocalRedis(LocalServer):
    """redis-server with its append-only file, so that a restart finds what was written."""

    def __init__(self, program: str) -> None:
        super().__init__(URL, answers)
        self._program = program

    def argv(self) -> list[str]:
        """redis-server in the foreground."""
        argv = [self._program, "--bind", "127.0.0.1", "--port", str(self.port)]
        return [*argv, "--dir", str(self.directory), "--appendonly", "yes", "--save", ""]
