"""`streamrec demo`: the whole system on one machine, on a generated shop, measured while it runs."""
