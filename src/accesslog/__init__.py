"""THE BACK DOOR: what a request really cost. Access log -> spool -> price -> ledger -> hot copy.

Read in the order of one entry's way: ``server`` (the wire), ``entry`` and ``logline`` (wire and
file to values), ``intake`` and ``spool`` (kept on disk before anything else), ``judge`` with
``outcome`` and ``price`` (what the entry means, pure), ``settle`` (the story: ledger, then the hot
copy), ``pump`` (batches), ``expire`` (entries that never came), ``replay`` (entries from files).
"""
