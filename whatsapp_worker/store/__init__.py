"""What survives a crash: the only door to SQL."""

from whatsapp_worker.store.ledger import SqliteLedger

__all__ = ["SqliteLedger"]
