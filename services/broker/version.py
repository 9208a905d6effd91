"""The one place that pins Apache Kafka. A test holds docker-compose.yml and the jar list to it."""

KAFKA_VERSION = "4.2.2"
"""Version of the embedded broker, of its console tools and of the image in docker-compose.yml."""

SCALA_VERSION = "2.13"
"""Scala line of the broker's jar; Kafka 4.x is built for this one only."""
