"""The prequential protocol, on streams whose answers are known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from services.contracts.context import context_features
from services.evaluation.cold import first_occurrences
from services.evaluation.metrics import figures
from services.evaluation.prequential import Simulation
from services.evaluation.report import report
from services.evaluation.stream import Batches, Stream, stream
from services.model.config import ModelConfig

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
CONFIG = ModelConfig(
    item_partitions=2, dim=8, history=10, history_kept=20, negatives=20, max_items=500, max_features=500, max_users=500
)
NOW = 1_600_000_000_000
ITEMS = 20


def item(number: int) -> dict[str, object]:
    """An item of one of four categories."""
    return {"item_id": f"i{number}", "title": f"thing {number % 3}", "categories": [f"c{number % 4}"], "year": 2000}


@pytest.fixture(scope="module")
def chains() -> Stream:
    """Users that walk along the items from random starts: the next item is always the one after."""
    rng = np.random.default_rng(0)
    events = []
    for user in range(120):
        start = int(rng.integers(ITEMS))
        events += [(f"u{user}", f"i{(start + k) % ITEMS}", NOW + user * 100_000 + k * 1000) for k in range(8)]
    return stream(events, [item(number) for number in range(ITEMS + 5)])


def test_events_are_sorted_and_items_carry_their_content() -> None:
    """Events come in order of time, equal times as they were; metadata may name items without events."""
    made = stream([("a", "x", 5), ("b", "y", 3), ("a", "z", 5)], [item(1), {**item(2), "item_id": "x"}])
    assert [made.items[i] for i in made.item] == ["y", "x", "z"]
    assert "i1" in made.items
    ptr, content = made.content_of(made.item)
    assert np.diff(ptr).tolist()[0] == 0
    assert len(content) == ptr[-1] > 0
    with pytest.raises(ValueError, match="no events"):
        stream([], [])


def test_events_carry_their_context_and_the_hour() -> None:
    """An event's features are what feature extraction makes of its time and its context map."""
    contexts = [{"device": "phone"}, {}, {"device": "tv", "country": "is"}]
    made = stream([("a", "x", NOW + 5), ("b", "y", NOW), ("c", "z", NOW + 9)], [], contexts)
    ptr, features = made.context_of(np.array([2, 0]))
    assert features[ptr[0] : ptr[1]].tolist() == context_features(NOW + 9, contexts[2])
    assert features[ptr[1] : ptr[2]].tolist() == context_features(NOW, {})


def test_ranks_follow_the_protocol(chains: Stream) -> None:
    """First occurrences are missed, all later events are scored, and a walk is learned."""
    result = Simulation(chains, CONFIG, 1, 40).run()
    seen: set[int] = set()
    for at, each in enumerate(chains.item.tolist()):
        if each not in seen:
            assert result.rank[at] == 0
        seen.add(each)
    assert (result.rank >= 0).all()
    late = figures(result.rank[len(chains) // 2 :])
    assert late["hr"] > 0.8
    assert late["ndcg"] > 0.6
    found = report(result, CONFIG)
    assert found["all"]["events"] == len(chains)
    assert found["by earlier events of the item"]["first"]["hr"] == 0.0
    assert found["delta bytes per event"] > 0


def test_repeated_pairs_are_not_scored_where_seen_items_are_excluded() -> None:
    """An event that repeats a pair has no rank with exclude_seen, and has one without."""
    made = stream([("a", "x", NOW), ("b", "x", NOW + 1), ("a", "y", NOW + 2), ("a", "x", NOW + 3)], [])
    assert Simulation(made, CONFIG, 1, 10).run().rank[3] == -1
    repeats = ModelConfig.from_record({**CONFIG.to_record(), "exclude_seen": False})
    assert Simulation(made, repeats, 1, 10).run().rank[3] > 0


@pytest.mark.parametrize("shards", [1, 3])
def test_runs_repeat_to_the_bit(chains: Stream, shards: int) -> None:
    """The same stream gives the same ranks and the same bytes."""
    first, second = (Simulation(chains, CONFIG, shards, 50).run() for _ in range(2))
    assert (first.rank == second.rank).all()
    assert first.delta_bytes == second.delta_bytes


def test_shards_converge_to_the_owners(chains: Stream) -> None:
    """After the last exchange no replica differs from the owners; before an exchange they do."""
    simulation = Simulation(chains, CONFIG, 3, 10)
    result = simulation.run()
    assert simulation.divergence() == 0.0
    assert max(result.divergence) > 0.0
    alone = Simulation(chains, CONFIG, 1, 50).run()
    assert figures(result.rank)["hr"] > 0.8 * figures(alone.rank)["hr"]


def test_shards_exchange_sooner_while_the_model_is_young() -> None:
    """Several shards exchange after 100 events, then after a sixteenth of all, up to the limit; one shard, or many
    told to be steady, by the limit from the start."""
    data = stream([(f"u{at % 40}", f"i{at % 7}", NOW + at * 1000) for at in range(2000)], [])
    ends: list[int] = []
    result = Simulation(data, CONFIG, 2, 110).run(progress=ends.append)
    assert ends == [*range(100, 1701, 100), 1806, 1916, 2000]
    assert (result.rank >= -1).all()
    for simulation in (Simulation(data, CONFIG, 1, 110), Simulation(data, CONFIG, 2, 110, steady=True)):
        ends.clear()
        simulation.run(progress=ends.append)
        assert ends == [*range(110, 2000, 110), 2000]


def test_arguments_are_checked(chains: Stream) -> None:
    """No shards, or no events between exchanges, is refused."""
    with pytest.raises(ValueError, match="at least 1"):
        Simulation(chains, CONFIG, 0, 10)
    with pytest.raises(ValueError, match="at least 1"):
        Simulation(chains, CONFIG, 1, 0)


def test_batches_carry_seeds_by_position(chains: Stream) -> None:
    """An event's seed is its position, in whatever batch it comes."""
    batches = Batches(chains, 2)
    slots = np.zeros(3, np.int32)
    whole = batches.take(np.array([4, 5, 6]), slots)
    whole.check()
    assert all(b - a == 1 for a, b in pairwise(whole.seed.tolist()))
    assert batches.take(np.array([5]), slots[:1]).seed[0] == whole.seed[1]


def test_first_occurrences_are_ranked_by_content() -> None:
    """Where everybody takes items of one category, untouched items of it come first."""
    catalogue = [{**item(n), "categories": ["liked" if n % 10 == 0 else f"c{n % 7}"]} for n in range(400)]
    events = [(f"u{n % 5}", f"i{n}", NOW + n) for n in range(0, 400, 10)]
    found = first_occurrences(stream(events, catalogue))
    assert found["events"] == 40
    assert found["percentile"] < 0.12


@pytest.mark.parametrize(
    ("name", "exclude_seen", "hr"), [("ml-latest-small", True, 0.4), ("online-retail", False, 0.04)]
)
def test_the_beginning_of_a_real_stream(name: str, exclude_seen: bool, hr: float) -> None:
    """The first 3,000 events of a public data set are ranked as well as they were when this was written."""
    from services.cli.evaluate import read

    folder = DATA / name
    if not (folder / "events.csv.gz").exists():
        pytest.skip(f"the data set is not at {folder}")
    data = read(str(folder / "events.csv.gz"), str(folder / "items.csv.gz"), 3000)
    config = ModelConfig(item_partitions=2, max_items=20_000, max_users=5000, exclude_seen=exclude_seen)
    assert figures(Simulation(data, config, 1, 100).run().rank)["hr"] > hr
