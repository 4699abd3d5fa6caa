"""A RabbitMQ of our own for the demo and the tests, apart from every other on this machine.

`PrivateNode` runs an installed rabbitmq-server with its own port, node name, cookie, data
directory and epmd, all on the loopback interface; nothing under /etc/rabbitmq or /var/lib/rabbitmq
is read or written.  It starts empty and leaves nothing behind.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Self

from whatsapp_worker.demo.login import Login

DEBIAN_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
"""Debian's own scripts; those in /usr/sbin switch user and ignore the environment (measured)."""

OURS_TO_CHOOSE = range(20_000, 32_000)
"""Ports that no kernel hands out, and above those of well-known services."""
START_SECONDS = 120.0
"""Measured: 5 to 8 s when idle; the rest is for a machine that is busy with something else."""
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1
BEFORE_KILL_SECONDS = 1.0


class BrokerError(Exception):
    """RabbitMQ could not be found or started; the text is one sentence for a person."""


def server_scripts() -> Path | None:
    """The directory of `rabbitmq-server` and `rabbitmqctl`, or None when it is not installed."""
    if (DEBIAN_SCRIPTS / "rabbitmq-server").exists():
        return DEBIAN_SCRIPTS
    found = shutil.which("rabbitmq-server")
    return Path(found).resolve().parent if found else None


class PrivateNode:
    """One RabbitMQ node that belongs to this process.

    Use it as a context manager, or call `start` and at the end `close`.  `stop`, `kill` and `start`
    again keep the data, so that a test can take the broker away and bring it back.

    Args:
        name: the beginning of the node's name.

    Raises:
        BrokerError: rabbitmq-server is not installed.
    """

    def __init__(self, name: str = "demo") -> None:
        scripts = server_scripts()
        if scripts is None:
            raise BrokerError("rabbitmq-server is not installed")
        self._scripts = scripts
        self._data = Path(tempfile.mkdtemp(prefix=f"whatsapp-worker-{name}-"))
        self._node = f"{name}-{secrets.token_hex(4)}@localhost"
        self._epmd_port, self._distribution_port, port = free_ports(3)
        self.login = Login(port, user="private", password=secrets.token_hex(12), vhost=name)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._configure()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """What the node printed so far."""
        file = self._data / "node.log"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return bool(self._processes) and self._processes[-1].poll() is None

    def start(self) -> None:
        """Start it (again, with the data it had) and return when it lets clients in.

        Raises:
            BrokerError: it ended, or did not answer within two minutes; holds the end of its log.
        """
        with (self._data / "node.log").open("ab") as log:
            epmd = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._processes = [
                self._spawn(epmd, log),
                self._spawn([str(self._scripts / "rabbitmq-server")], log),
            ]
        try:
            wait_for_login(self.login, lambda: self.running)
        except BrokerError as error:
            raise BrokerError(f"{error}:\n{self.log[-2000:]}") from None

    def stop(self) -> None:
        """End it as an operator would: connections are closed and everything is flushed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), a second from now.

        RabbitMQ writes the list of its quorum queues to disk half a second late.  Killed sooner
        after a declaration it comes back with a queue that answers nobody (measured on 3.10.8).
        """
        sleep(BEFORE_KILL_SECONDS)
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it and remove its data."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self._data, ignore_errors=True)

    def ctl(self, *arguments: str, stdin: str = "") -> str:
        """Run `rabbitmqctl` against this node and return what it printed.

        Args:
            arguments: the command and its arguments.
            stdin: what the command reads.

        Raises:
            BrokerError: it failed; holds what it said.
        """
        done = subprocess.run(  # noqa: S603  The program is RabbitMQ's own, the arguments ours.
            [self._scripts / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment,
            cwd=self._data,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def add_vhosts(self, *names: str) -> None:
        """Make virtual hosts in which the private user may do everything."""
        self.ctl("import_definitions", stdin=json.dumps(definitions(self.login, *names)))

    def _configure(self) -> None:
        files = {
            "rabbitmq.conf": (
                f"listeners.tcp.1 = 127.0.0.1:{self.login.port}\n"
                f"load_definitions = {self._data / 'definitions.json'}\n"
                "vm_memory_high_watermark.absolute = 512MiB\n"
                "disk_free_limit.absolute = 50MB\n"
            ),
            "definitions.json": json.dumps(definitions(self.login, self.login.vhost)),
            "enabled_plugins": "[].\n",
            ".erlang.cookie": secrets.token_hex(16),
        }
        for name, text in files.items():
            (self._data / name).write_text(text)
            (self._data / name).chmod(0o600)  # Erlang insists on it for the cookie.
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        self._environment = {
            # The caller's RABBITMQ_URL, RABBITMQ_PORT and so on are not for this node.
            **{k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": str(self._data),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_CONFIG_FILE": str(self._data / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self._data / "none"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._data / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self._data / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._data / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._data / "log"),
            "RABBITMQ_PID_FILE": str(self._data / "pid"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-start_epmd false {loopback}",
            # The script then becomes the node itself, so that our child's id is the node's.
            "RUNNING_UNDER_SYSTEMD": "true",
            "LC_ALL": "C.UTF-8",
        }

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  Fixed commands.
            command,
            env=self._environment,
            cwd=self._data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: we end the node in our own order.
        )

    def _end(self, how: signal.Signals) -> None:
        for process in reversed(self._processes):  # The node first, then its epmd.
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []


def definitions(login: Login, *vhosts: str) -> dict[str, object]:
    """RabbitMQ definitions (`load_definitions`, `import_definitions`) of a user and its vhosts."""
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": login.user, "password": login.password, "tags": "administrator"}],
        "vhosts": [{"name": vhost} for vhost in vhosts],
        "permissions": [{"user": login.user, "vhost": vhost, **everything} for vhost in vhosts],
    }


def wait_for_login(login: Login, alive: Callable[[], bool]) -> None:
    """Return when RabbitMQ lets us in.

    Args:
        login: where and how.
        alive: whether there is still something to wait for.

    Raises:
        BrokerError: it ended, or did not answer within two minutes.
    """
    deadline = monotonic() + START_SECONDS
    while not login.works():
        if not alive():
            raise BrokerError("RabbitMQ ended while it was starting")
        if monotonic() > deadline:
            raise BrokerError(f"RabbitMQ did not answer within {START_SECONDS:.0f} seconds")
        sleep(POLL_SECONDS)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different.

    Not those that the kernel hands out (Linux: from 32768 on): between this look and their use it
    would give them to any connection that somebody makes.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(_listening()) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in sockets]


def _listening() -> socket.socket:
    for _ in range(1000):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", secrets.choice(OURS_TO_CHOOSE)))
    raise OSError("no free port of 127.0.0.1 was found")
