"""`python -m tests.whatsapp_server`: a WhatsApp of your own, to try the daemon against."""

import argparse
import asyncio
import shlex
import signal
import sys
from asyncio import Event, TaskGroup
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.whatsapp_server.console import COMMANDS, Console, typed_lines
from tests.whatsapp_server.library import Library
from tests.whatsapp_server.pairing_watch import link_whoever_asks
from tests.whatsapp_server.server import Unclean, WhatsAppServer

ACCOUNT = "15550000001"
PEOPLE = {"15551110001": "Alice", "15551110002": "Bob"}

DESCRIPTION = """\
A local WhatsApp server.  The real client library pairs with it, sends through it and receives from
it; nothing leaves this machine.  It prints the variables to export in the shell in which you start
`whatsapp-worker run`, and then one line for everything that happens.
"""

EXAMPLE = """\
in one shell:    python -m tests.whatsapp_server --session DIR
in another one:  (the printed exports), then
                 export WHATSAPP_SESSION_PATH=DIR
                 whatsapp-worker run
in a third one:  whatsapp-worker send --to +15551110001 --text "On my way"

commands, while it runs:
"""


def main() -> int:
    """Run until told to end; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.whatsapp_server",
        description=DESCRIPTION,
        epilog=EXAMPLE + COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--session",
        type=Path,
        metavar="DIR",
        help="link the daemon with this WHATSAPP_SESSION_PATH by itself, whenever it shows a code",
    )
    arguments = parser.parse_args()
    try:
        with TemporaryDirectory(prefix="whatsapp-server-") as directory:
            asyncio.run(serve(Path(directory), arguments.session))
    except Unclean as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def serve(directory: Path, session: Path | None) -> None:
    """Run a server with two people until `quit`, SIGINT or SIGTERM."""
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with WhatsAppServer(Library.prepare(directory), directory) as server:
        account = server.add_account(ACCOUNT, "Owner")
        people = {number: server.add_contact(number, name) for number, name in PEOPLE.items()}
        console = Console(server, account, people, sys.stdout)
        console.say(introduction(server))

        async def obey() -> None:
            await console.obey(typed_lines())
            ended.set()

        async with TaskGroup() as tasks:
            running = [tasks.create_task(console.watch()), tasks.create_task(obey())]
            if session is not None:
                linking = link_whoever_asks(session, server, account, console.say)
                running.append(tasks.create_task(linking))
            await ended.wait()
            for task in running:
                task.cancel()


def introduction(server: WhatsAppServer) -> str:
    """What to do with this server, for a person."""
    people = ", ".join(f"{name} (+{number})" for number, name in PEOPLE.items())
    exports = [f"export {name}={shlex.quote(value)}" for name, value in server.environment.items()]
    return "\n".join(
        [
            "# In the shell of the daemon, and only there:",
            *exports,
            "",
            f"The account is +{ACCOUNT}; it can write to {people}.  Commands:",
            COMMANDS,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
