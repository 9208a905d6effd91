"""The table that `make bench` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from services.cli.show import table

_UNTIL = {"item-shard": "until its last sweep, which waits for its turn"}


def tables(result: dict[str, Any]) -> list[Table]:
    """What was measured, for people."""
    return [_throughput(result), _cpu(result), _split(result), _freshness(result), _footprint(result), _restore(result)]


def _throughput(result: dict[str, Any]) -> Table:
    limit, full, half = result["limit"], result["full"], result["half"]
    rows = [
        ("limit: three bare hops", f"{limit['events_per_s']:,.0f}", "1.00", ""),
        (
            "system, full speed",
            f"{full['events_per_s']:,.0f}",
            f"{full['events_per_s'] / limit['events_per_s']:.2f}",
            f"{full['lists']:,} lists",
        ),
    ]
    rows += [
        (
            f"  {name}",
            f"{rate:,.0f}",
            f"{rate / limit['events_per_s']:.2f}",
            _UNTIL.get(name, "until it had nothing left"),
        )
        for name, rate in full["events_per_s_by_service"].items()
    ]
    rows.append(("system, half speed", f"{half['events'] / half['sent_s']:,.0f}", "", f"{half['lists']:,} lists"))
    return table(["", "events/s", "of limit", "note"], rows, "Throughput, exactly-once", right="events/s,of limit")


def _cpu(result: dict[str, Any]) -> Table:
    full, half, limit = (result[name]["cpu_us_per_event"] for name in ("full", "half", "limit"))
    clients = result["full"]["client_cpu_us_per_event"]
    rows: list[tuple[str, ...]] = [
        (name, f"{full[name]:.1f}", f"{clients[name]:.1f}", f"{half[name]:.1f}", "")
        for name in full
        if name != "broker"
    ]
    rows.append(("broker", f"{full['broker']:.1f}", "", f"{half['broker']:.1f}", f"{limit['broker']:.1f}"))
    hops = sum(spent for name, spent in limit.items() if name != "broker")
    sums = [sum(spent for name, spent in each.items() if name != "broker") for each in (full, clients, half)]
    rows.append(("three services, three hops", *(f"{each:.1f}" for each in sums), f"{hops:.1f}"))
    whole = [sum(each.values()) for each in (full, half, limit)]
    rows.append(("everything", f"{whole[0]:.1f}", "", f"{whole[1]:.1f}", f"{whole[2]:.1f}"))
    rows.append(("of the limit, by CPU", f"{whole[2] / whole[0]:.2f}", "", f"{whole[2] / whole[1]:.2f}", "1.00"))
    columns = ["", "full speed", "client threads", "half speed", "limit"]
    return table(columns, rows, "CPU per event, µs", right=",".join(columns[1:]))


def _split(result: dict[str, Any]) -> Table:
    full, half = (result[name]["time_split_us_per_event"] for name in ("full", "half"))
    rows = [(name, f"{full[name]:.1f}", f"{half.get(name, 0):.1f}") for name in full if full[name] >= 0.05]
    return table(
        ["loop: part", "full speed", "half speed"], rows, "Where the loops' time goes, µs per event",
        right="full speed,half speed",
    )  # fmt: skip


def _freshness(result: dict[str, Any]) -> Table:
    rows = []
    for name, values in (
        ("system, full speed (queueing)", result["full"]["freshness_ms"]),
        ("system, half speed", result["half"]["freshness_ms"]),
        ("bare hops at the same rate", result["limit_freshness_ms"]),
    ):
        rows.append((name, f"{values.get('p50', 0):,.0f}", f"{values.get('p99', 0):,.0f}", f"{values['n']:,.0f}"))
    return table(
        ["", "p50", "p99", "events"], rows, "Freshness, ms: event sent to list readable", right="p50,p99,events"
    )


def _footprint(result: dict[str, Any]) -> Table:
    rows = [
        (f"{topic}, per event", f"{values['bytes']:,.0f} B", f"{values['records']:.2f} records")
        for topic, values in result["topics_per_event"].items()
    ]
    memory = result["memory"]
    rows.append(("memory per user row", f"{memory['user_row_bytes']:,.0f} B", f"{memory['users']:,} users"))
    rows.append(("memory per item row", f"{memory['item_row_bytes']:,.0f} B", f"{memory['items']:,} rows"))
    rows += [(f"resident: {name}", f"{mb:,.0f} MB", "") for name, mb in result["half"]["rss_mb"].items()]
    return table(["", "size", ""], rows, "Size", right="size")


def _restore(result: dict[str, Any]) -> Table:
    rows = [
        (name, f"{values['seconds']:.1f} s", f"{values['records']:,.0f}") for name, values in result["restore"].items()
    ]
    return table(
        ["restart", "ready after", "records"], rows, "Restore (process start included)", right="ready after,records"
    )
