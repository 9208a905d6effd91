"""`make bench`: the system on a real broker, against a bare pass-through with the same client in the same run."""
