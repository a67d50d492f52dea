"""What the doors share: money, keys, plans, prices, reservations and the ledger."""
