"""`streamrec produce`: files of events and items into Kafka."""
