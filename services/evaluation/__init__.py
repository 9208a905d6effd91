"""The prequential protocol on files of events, with the very classes that the services run."""
