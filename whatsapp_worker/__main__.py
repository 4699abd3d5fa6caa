"""The way in: `whatsapp-worker ...` and `python -m whatsapp_worker ...`."""

import sys


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if sys.argv[1:] == ["healthcheck"]:  # Every few seconds: not worth loading anything else.
        from whatsapp_worker import healthcheck

        sys.exit(healthcheck.main())
    from whatsapp_worker.cli import app, leave

    try:
        app(prog_name="whatsapp-worker")
    except SystemExit as end:
        leave(end)


if __name__ == "__main__":
    main()
