"""The experts of the mixture: what can bring an item into a list, and the evidence of each for an item.

An expert is one file with up to three kernels:

    prepare    once a query: what it knows of the user
    offer      adds its best items to the candidates
    evidence   fills its columns of a candidate: features of the log-linear score and, where it is a
               probability, its share of the mixture

kernels/ranking.py calls them in turn; a new expert is a file, its columns here and its calls there.
"""

NAMES: tuple[str, ...] = ("popularity", "factors", "co-visitation", "transition", "own history", "content", "context")
"""Names of the experts, by their code in a ranking."""
POPULARITY, FACTORS, COVISITATION, TRANSITION, OWN_HISTORY, CONTENT, CONTEXT = range(7)

MIXTURE: tuple[int, ...] = (0, 0, 0, 0, 0, 1, 2, 3, 4, 3, 2, 6)
"""Code of the expert behind each share of the mixture: popularity at every half-life, factors,
co-visitation, transition, own history, strictly next, decayed co-visitation, context."""
(MIX_FACTORS, MIX_COVISITATION, MIX_TRANSITION, MIX_OWN, MIX_NEXT, MIX_RECENT, MIX_CONTEXT) = range(5, 12)

FEATURES: tuple[str, ...] = (
    "popularity 1", "popularity 2", "popularity 3", "popularity 4", "popularity 5",
    "factors", "co-visitation", "transition", "transition 2", "transition 3", "strictly next",
    "recent co-visitation", "recent transition", "cosine", "cosine last", "reverse transition",
    "categories", "seen before", "in this session", "times seen", "hours since", "place in history",
    "share of earlier sessions", "title", "release year", "context", "mixture",
)  # fmt: skip
"""Columns of the log-linear score."""
(
    F_FACTORS, F_COVISITATION, F_TRANSITION, F_TRANSITION2, F_TRANSITION3, F_NEXT, F_RECENT_COVISITATION,
    F_RECENT_TRANSITION, F_COSINE, F_COSINE_LAST, F_REVERSE, F_CATEGORIES, F_SEEN, F_SESSION, F_TIMES,
    F_HOURS, F_PLACE, F_EARLIER, F_TITLE, F_YEAR, F_CONTEXT, F_MIXTURE,
) = range(5, 27)  # fmt: skip

FLOOR = 1e-4
"""A probability p enters the log-linear score as log(p + FLOOR). The experts fill in p + FLOOR in the columns up to
F_REVERSE; the logarithm is taken of all of them at once (ranking.score)."""
