"""The experts of the mixture: what can bring an item into a list."""

NAMES: tuple[str, ...] = ("popularity", "factors", "co-visitation", "transition", "own history", "content")
"""Names of the experts, by their code in a ranking."""
POPULARITY, FACTORS, COVISITATION, TRANSITION, OWN_HISTORY, CONTENT = range(6)
