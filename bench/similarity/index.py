"""Built-in measures of similarity: name -> module that registers it. New measures go here."""

BUILTIN: dict[str, str] = {
    "proxy-a-distance": "bench.similarity.distances",
    "frechet-distance": "bench.similarity.distances",
    "leep": "bench.similarity.scores",
}
