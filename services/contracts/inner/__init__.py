"""The private records of the inner topics: versioned msgpack maps."""
