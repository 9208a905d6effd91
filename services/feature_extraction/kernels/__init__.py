"""Feature extraction on columns: the rules of the plain extractor, for many events at a time."""
