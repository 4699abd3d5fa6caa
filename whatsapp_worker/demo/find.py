"""Where the demo and the tests get their RabbitMQ from."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from whatsapp_worker.demo.docker import DockerNode
from whatsapp_worker.demo.login import Login
from whatsapp_worker.demo.rabbitmq import BrokerError, PrivateNode, server_scripts

Node = PrivateNode | DockerNode
Say = Callable[[str], None]

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this program whether an installed package may start its service."""
REFUSE_EVERY_SERVICE = "#!/bin/sh\nexit 101\n"
NOT_FOUND = (
    "No RabbitMQ: none in RABBITMQ_URL, none at localhost:5672, no rabbitmq-server installed, no "
    "Docker engine.  Install one, on Debian with: sudo apt-get install rabbitmq-server"
)


@dataclass(frozen=True, slots=True)
class Broker:
    """A RabbitMQ that answers.

    Attributes:
        url: its AMQP URL, password included.
        origin: where it comes from, for a person.
    """

    url: str = field(repr=False)
    origin: str


@contextmanager
def find_broker(say: Say, environment: Mapping[str, str] = os.environ) -> Iterator[Broker]:
    """Use the RabbitMQ that is there, or run one of our own for as long as the context lasts.

    The order is: RABBITMQ_URL, one at localhost:5672 that lets guest in, a private node.

    Args:
        say: told what takes a while.
        environment: where RABBITMQ_URL may be.

    Raises:
        BrokerError: there is none and none could be started; says what to install.
    """
    if url := environment.get("RABBITMQ_URL"):
        yield Broker(url, "the RabbitMQ in RABBITMQ_URL")
    elif (guest := Login(5672)).works():
        yield Broker(guest.url, "the RabbitMQ at localhost:5672")
    else:
        node = new_node("demo", say)
        say("Starting a private RabbitMQ (a few seconds) ...")
        with node:
            yield Broker(node.login.url, f"a private RabbitMQ at localhost:{node.login.port}")


def new_node(name: str, say: Say) -> Node:
    """A node of our own, not yet started: installed, in Docker, or installed here and now.

    Args:
        name: the beginning of its name, and its first virtual host.
        say: told what takes a while.

    Raises:
        BrokerError: none of the three is possible; says what to install.
    """
    if server_scripts():
        return PrivateNode(name)
    try:
        return DockerNode(name)
    except BrokerError:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise BrokerError(NOT_FOUND) from None
    say("Installing Debian's rabbitmq-server (once, a minute or two; its service stays off) ...")
    install_server()
    return PrivateNode(name)


def install_server(policy: Path = POLICY) -> None:
    """Install Debian's rabbitmq-server without letting its service start; needs root.

    Args:
        policy: the program Debian asks whether services may start; one that is there stays.

    Raises:
        BrokerError: apt-get failed; holds what it said.
    """
    ours = not policy.exists()
    if ours:
        policy.write_text(REFUSE_EVERY_SERVICE)
        policy.chmod(0o755)
    try:
        install = ("install", "--yes", "--no-install-recommends", "rabbitmq-server")
        if _apt_get(*install).returncode:  # A fresh machine has no package lists yet.
            _apt_get("update")
            done = _apt_get(*install)
            if done.returncode:
                raise BrokerError(f"apt-get install rabbitmq-server failed:\n{done.stdout[-2000:]}")
    finally:
        if ours:
            policy.unlink()


def _apt_get(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  Fixed arguments.
        ["apt-get", "-q", *arguments],  # noqa: S607  Found on root's own PATH.
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
