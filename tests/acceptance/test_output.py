"""What the daemon prints: one JSON object a line, though the library prints what it likes."""

import json

import pytest

from tests.acceptance.fate import dead, fates, job, publish
from tests.acceptance.rig import Rig
from tests.support.privacy import leaks

ON_STANDARD_ERROR = {"Press Ctrl+C to exit"}
"""The library's; that stream stays as it is, so that a crash of Go can be read (logs.process)."""

pytestmark = pytest.mark.timeout(120)


async def test_every_line_is_json_and_what_the_library_prints_is_masked_inside(rig: Rig) -> None:
    nobody = job(rig, rig.contact(registered=False))
    async with rig.online(LOG_LEVEL="DEBUG") as daemon:
        await publish(rig, nobody)
        assert await fates(rig, [nobody], daemon) == [dead("not_on_whatsapp")]
        assert await daemon.stop() == 0
    lines = [line for line in daemon.printed.splitlines() if line not in ON_STANDARD_ERROR]
    told = [json.loads(line) for line in lines]
    noise = [line for line in told if line["logger"] == "native.stdout"]
    assert [line["level"] for line in noise if "no LID found" in line["message"]] == ["DEBUG"]
    assert {line["level"] for line in noise} == {"DEBUG"}
    assert leaks(daemon.printed) == {}
