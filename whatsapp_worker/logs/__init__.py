"""What the worker writes for people and log stores: one line per event, nothing private in it.

Masking is done by the formatters, on everything a line is made of, so no logger can get past it:
not a library's, not an exception's text, not what Go code prints.  LOGGING.md lists the fields.
"""

from whatsapp_worker.logs.configuration import configure
from whatsapp_worker.logs.job import observe
from whatsapp_worker.logs.process import install_exception_hooks, protect_stdout

__all__ = ["configure", "install_exception_hooks", "observe", "protect_stdout"]
