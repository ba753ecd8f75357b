"""The ledger of language model calls, and the locks of a workspace."""
