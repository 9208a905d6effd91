"""The `streamrec` command: everything a person does with the system, through Kafka only."""
