"""`scripts/image-check`: build, prove, tell; exit code 1 if anything is not as it should be."""

import signal
import sys
from contextlib import suppress
from time import monotonic

from scripts.image import proofs
from scripts.image.buildah import Buildah
from scripts.image.container import ImageError, call
from scripts.image.docker import Docker
from scripts.image.proofs import Engine
from whatsapp_worker import __version__
from whatsapp_worker.demo.find import new_node
from whatsapp_worker.demo.rabbitmq import BrokerError


def say(text: str) -> None:
    """Tell what is going on, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def find_engine() -> Engine:
    """Docker or Podman if one answers, else buildah.

    Raises:
        ImageError: none of them can be had.
    """
    for name in ("docker", "podman"):
        with suppress(ImageError):
            call(name, "info")
            return Docker(name)
    return Buildah(say)


def prove(engine: Engine) -> list[str]:
    """Run every proof, a line each; returns the names of those that failed."""
    failed = []
    with new_node("image", say) as node:
        place = proofs.Place(engine, node.login.url)
        for proof in proofs.ALL:
            begun = monotonic()
            try:
                found, verdict = proof(place), "ok"
            except ImageError as error:
                found, verdict = str(error), "FAIL"
                failed.append(proof.__name__)
            what = proof.__name__.replace("_", " ")
            say(f"{verdict:4} {what:44} {monotonic() - begun:5.1f} s  {found}")
    return failed


def revision() -> str:
    """The commit that is built, with a `+` when the tree differs from it."""
    try:
        asked = ("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")
        return call("git", *asked).strip()
    except ImageError:
        return "unknown"  # Not a working copy of git's.


def main() -> int:
    """Build and prove; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Clean up then, too.
    try:
        engine = find_engine()
        say(f"Building with {engine.name} ...")
        begun = monotonic()
        engine.build({"VERSION": __version__, "REVISION": revision()})
        say(f"Built in {monotonic() - begun:.0f} s: {engine.size}")
        failed = prove(engine)
    except (ImageError, BrokerError) as error:
        say(f"image-check: {error}")
        return 1
    except KeyboardInterrupt:
        say("image-check: interrupted; nothing is left running")
        return 130
    if failed:
        say(f"{len(failed)} of {len(proofs.ALL)} failed.")
        return 1
    say("The image is as it should be.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
