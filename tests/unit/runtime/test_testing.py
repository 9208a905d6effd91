"""The test driver behaves as the loop does: restore, resume, hold, refuse, crash."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.runtime.processor import Batch, Headers, Inputs, Outputs, Slice
from services.runtime.testing import Driver, Logs


def _decode(_key: bytes | None, value: bytes | None, _headers: Headers) -> Any:
    return int(value or b"")


class Sum:
    """Sums numbers per key, writes the sums every other step, and resumes where its state says."""

    name = "sum"
    inputs = Inputs("in", state=("sums",))
    decoders = {"in": _decode, "sums": _decode}  # noqa: RUF012 - as the protocol has it

    def start(self, epoch: int) -> None:
        """Forget all."""
        self.epoch = epoch
        self.sums: dict[int, dict[bytes, int]] = {}

    def open(self, partition: int) -> None:
        """Own a partition."""
        self.sums[partition] = {}

    def load(self, slice_: Slice) -> None:
        """Take in sums."""
        self.sums[slice_.partition].update(zip(slice_.keys, slice_.values, strict=True))  # type: ignore[arg-type]

    def restored(self, _partition: int) -> int | None:
        """The committed offset."""
        return None

    def step(self, batch: Batch, out: Outputs) -> None:
        """Sum."""
        for slice_ in batch.slices:
            sums = self.sums[slice_.partition]
            for offset, key, value in zip(slice_.offsets, slice_.keys, slice_.values, strict=True):
                if value < 0:
                    out.refuse(slice_.topic, slice_.partition, offset, "negative")
                    continue
                assert key is not None
                sums[key] = sums.get(key, 0) + value
                out.send("sums", key, str(sums[key]).encode(), slice_.partition)

    def appetite(self, _now_ms: int) -> int | None:
        """Whatever there is."""
        return None

    def wake_at(self) -> int | None:
        """No timer."""
        return None

    def dump(self, partition: int) -> list[tuple[str, bytes, bytes]]:
        """All sums."""
        return [("sums", key, str(value).encode()) for key, value in self.sums[partition].items()]

    def close(self, partition: int) -> None:
        """Give a partition up."""
        del self.sums[partition]


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(-1, 9)), max_size=40),
    st.lists(st.sampled_from(["step", "crash", "lost", "restart", "compact"]), max_size=20),
)
def test_crashes_change_nothing(numbers: list[tuple[str, int]], events: list[str]) -> None:
    """Whatever crashes in between, the sums are those of an uninterrupted run, and each refusal is one dead letter."""
    logs = Logs({"in": 2, "sums": 2})
    driver = Driver(Sum(), logs)
    driver.open(0, 1)
    for name, number in numbers:
        logs.append("in", name.encode(), str(number).encode())
    for event in events:
        if event == "step":
            driver.step(limit=3)
        elif event == "lost":
            driver.step(limit=3, commit=False)
            driver.crash()
        elif event == "compact":
            logs.compact("sums")
        else:
            driver.crash(Sum() if event == "restart" else None)
    driver.drain()
    expected: dict[bytes, int] = {}
    for name, number in numbers:
        if number >= 0:
            expected[name.encode()] = expected.get(name.encode(), 0) + number
    processor = driver.processor
    assert isinstance(processor, Sum)
    assert {key: value for sums in processor.sums.values() for key, value in sums.items()} == expected
    assert len(logs.records("dead-letters")) == sum(number < 0 for _, number in numbers)
    assert driver.waiting() == 0


def test_hold_and_covered() -> None:
    """A held position does not move with a step; a covered one moves to where the processor says."""

    class Holding(Sum):
        held: int | None = None

        def step(self, batch: Batch, out: Outputs) -> None:
            for slice_ in batch.slices:
                if self.held is None:
                    out.hold(slice_.topic, slice_.partition)
                else:
                    out.covered(slice_.topic, slice_.partition, self.held)

    logs = Logs()
    driver = Driver(Holding(), logs)
    driver.open(0)
    for _ in range(5):
        logs.append("in", b"a", b"1")
    assert driver.step(limit=2).positions == {}
    assert isinstance(driver.processor, Holding)
    driver.processor.held = 3
    assert driver.step(limit=2).positions == {("in", 0): 3}
    assert driver.committed == {("in", 0): 3}
    driver.crash()
    assert driver.waiting() == 2
