"""A RabbitMQ of our own in a container, for machines with Docker but without rabbitmq-server."""

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Self

from whatsapp_worker.demo.login import Login
from whatsapp_worker.demo.rabbitmq import BrokerError, definitions, free_ports, wait_for_login

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

ENGINE_SOCKET = Path("/var/run/docker.sock")
IMAGE = "rabbitmq:3.13"
WITH_STDIN = 'stdin="$1"; shift; printf %s "$stdin" | rabbitmqctl --quiet "$@"'


class DockerNode:
    """The counterpart of `PrivateNode`, through testcontainers.

    Args:
        name: the name of its first virtual host.

    Raises:
        BrokerError: testcontainers is not installed, or no Docker engine answers.
    """

    def __init__(self, name: str = "demo") -> None:
        port = free_ports(1)[0]
        self.login = Login(port, user="private", password=secrets.token_hex(12), vhost=name)
        self._container = _container(self.login)

    def __enter__(self) -> Self:
        try:
            self._container.start()
            wait_for_login(self.login, alive=lambda: True)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it again with the data it had, and return when it lets clients in."""
        self._container.get_wrapped_container().start()
        wait_for_login(self.login, alive=lambda: True)

    def stop(self) -> None:
        """End it as an operator would: connections are closed and everything is flushed."""
        self._container.get_wrapped_container().stop()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._container.get_wrapped_container().kill()

    def close(self) -> None:
        """End it and remove its data."""
        self._container.stop()

    def ctl(self, *arguments: str, stdin: str = "") -> str:
        """Run `rabbitmqctl` in the container and return what it printed.

        Raises:
            BrokerError: it failed; holds what it said.
        """
        code, output = self._container.exec(["sh", "-c", WITH_STDIN, "sh", stdin, *arguments])
        text = bytes(output).decode(errors="replace")
        if code:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: {text.strip()}")
        return text

    def add_vhosts(self, *names: str) -> None:
        """Make virtual hosts in which the private user may do everything."""
        self.ctl("import_definitions", stdin=json.dumps(definitions(self.login, *names)))


def _container(login: Login) -> "DockerContainer":
    try:
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        raise BrokerError("testcontainers is not installed") from error
    if not (ENGINE_SOCKET.exists() or "DOCKER_HOST" in os.environ):
        raise BrokerError("no Docker engine runs here")
    try:
        container = DockerContainer(IMAGE)
    except Exception as error:  # docker-py raises whatever its transport raises.
        raise BrokerError("no Docker engine answers") from error
    return (
        container.with_env("RABBITMQ_DEFAULT_USER", login.user)
        .with_env("RABBITMQ_DEFAULT_PASS", login.password)
        .with_env("RABBITMQ_DEFAULT_VHOST", login.vhost)
        .with_bind_ports(5672, login.port)
    )
