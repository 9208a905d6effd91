"""streamrec: an online-learning recommender that runs as a Kafka stream processor."""

import os

# Before numpy is imported anywhere: the matrix products of one list batch are too small to gain from a second thread,
# and its workers spin between them on cores that other services and replicas need (measured: five times the CPU).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
