"""streamrec: an online-learning recommender that runs as a Kafka stream processor."""

__version__ = "0.1.0"
