"""The five meters: what a request may cost (``quote``) and what it did (``cost``), both pure."""
