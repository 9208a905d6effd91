"""`streamrec recommend USER`: the current list of a user with its reasons, or a new one on request."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from services.cli.errors import CliError
from services.cli.kafka import deadline, ended, partition_count, poll_batch, read_to_end, reader, watermarks
from services.cli.options import command
from services.cli.send import send_one
from services.cli.show import JsonOption, duration_ms, out, print_json, table, when
from services.contracts.edge import EdgeRecordError, RecommendationList, RecommendationRequest, codec_for
from services.contracts.keys import partition_of
from services.contracts.topics import physical
from services.runtime.registry import registry_of
from services.runtime.settings import KafkaSettings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

LISTS = "recommendations"
_POLL_S = 0.2
_REASONS_SHOWN = 3


@command(app, KafkaSettings, name="recommend")
def recommend(  # noqa: PLR0913 - one parameter per option
    settings: KafkaSettings,
    *,
    user: Annotated[str, typer.Argument(metavar="USER", show_default=False, help="Id of the user.")],
    request: Annotated[
        bool, typer.Option("--request", help="Ask for a new list and wait for it; it becomes the user's current one.")
    ] = False,
    k: Annotated[
        int | None, typer.Option("-k", "--size", min=1, max=1000, metavar="ITEMS", help="Length of the requested list.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="ITEM", help="Leave this item out; several times for more.")
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="NAME=VALUE", help="Circumstances of the request, such as device=phone."),
    ] = None,
    exclude_seen: Annotated[
        bool | None,
        typer.Option(
            "--exclude-seen/--include-seen",
            show_default="as the service is configured",
            help="Whether the items that the user has interacted with are left out of the requested list.",
        ),
    ] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.1, metavar="S", help="Longest wait for a requested list.")
    ] = 10.0,
    titles: Annotated[bool, typer.Option("--titles/--no-titles", help="Look the titles up in the items topic.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Show a user's current list, or ask for a new one.

    Every item comes with its reason. Reads the user's partition of the recommendations topic. With --request
    (or -k, --exclude, --context, --include-seen, --exclude-seen) it asks for a new list and waits for the
    answer, which becomes the user's current list until the next one; the user may be one never seen.
    """  # fmt: skip
    if not user:
        raise CliError("USER: an id has at least one character", code=2)
    wanted: RecommendationRequest = {
        "request_id": str(uuid.uuid4()),
        "user_id": user,
        "k": k,
        "exclude": exclude or [],
        "context": _context(context or []),
        "exclude_seen": exclude_seen,
    }
    client = reader(settings)
    try:
        found: RecommendationList | None
        if request or k is not None or exclude or context or exclude_seen is not None:
            found = _ask(client, settings, wanted, wait_s)
        else:
            found = current_list(client, settings, user)
        if found is None:
            raise CliError(f"there is no list for user {user}; ask for one with --request")
        if as_json:
            print_json(found)
            return
        names = _titles(client, settings, _mentioned(found)) if titles else {}
        show_list(found, names)
    finally:
        client.close()


def current_list(client: Consumer, settings: KafkaSettings, user: str) -> RecommendationList | None:
    """The newest list of a user, or None when there is none or it was withdrawn."""
    codec = codec_for(LISTS, registry_of(settings), settings.topic_prefix)
    key, newest = user.encode(), None
    for message in read_to_end(client, [_partition(client, settings, user, OFFSET_BEGINNING)]):
        if message.key() == key:
            newest = message.value()
    return None if newest is None else codec.decode(bytes(newest))


def _ask(
    client: Consumer, settings: KafkaSettings, request: RecommendationRequest, wait_s: float
) -> RecommendationList:
    codec = codec_for(LISTS, registry_of(settings), settings.topic_prefix)
    place = _partition(client, settings, request["user_id"], 0)
    # The answer is behind this offset, whenever the request arrives.
    place.offset = watermarks(client, place.topic, [place.partition])[place.partition][1]
    client.assign([place])
    send_one(settings, "recommendation-requests", request["user_id"], request)
    key, over = request["user_id"].encode(), deadline(wait_s)
    while not over():
        for message in poll_batch(client, _POLL_S):
            value = message.value()
            if ended(message) or value is None or message.key() != key:
                continue
            found: RecommendationList = codec.decode(bytes(value))
            if found["request_id"] == request["request_id"]:
                return found
    raise CliError(
        f"no answer within {wait_s:g} s; is recommendation-publishing running? "
        "`streamrec lag` shows how far it is behind, --wait gives it longer"
    )


def _partition(client: Consumer, settings: KafkaSettings, user: str, offset: int) -> TopicPartition:
    name = physical(LISTS, settings.topic_prefix)
    return TopicPartition(name, partition_of(user.encode(), partition_count(client, name)), offset)


def _titles(client: Consumer, settings: KafkaSettings, items: set[str]) -> dict[str, str]:
    """{item id: title} of the items that the items topic knows. Reads the topic, decodes only these."""
    name = physical("items", settings.topic_prefix)
    codec = codec_for("items", registry_of(settings), settings.topic_prefix)
    keys = {item.encode(): item for item in items}
    newest: dict[str, bytes | None] = {}
    starts = [TopicPartition(name, each, OFFSET_BEGINNING) for each in range(partition_count(client, name))]
    for message in read_to_end(client, starts):
        key = message.key()
        if key in keys:
            newest[keys[bytes(key)]] = message.value()
    titles = {}
    for item, value in newest.items():
        try:
            titles[item] = codec.decode(bytes(value))["title"] if value is not None else ""
        except EdgeRecordError:
            continue
    return {item: title for item, title in titles.items() if title}


def _mentioned(found: RecommendationList) -> set[str]:
    return {item["item_id"] for item in found["items"]} | {each for item in found["items"] for each in item["because"]}


def show_list(found: RecommendationList, titles: dict[str, str]) -> None:
    """Print a list for people."""
    learned = "from no event of the user"
    if found["learned_event_id"] is not None:
        learned = f"from event {found['learned_event_id']} of {when(found['learned_event_time'])}"
        # A list made on request, or anew, has learned from an event that may be of long ago: its age is no latency.
        if found["why"] == "event" and found["learned_append_time"] is not None:
            learned += f", {duration_ms(found['published_at'] - found['learned_append_time'])} after Kafka had it"
    out.print(
        f"list {found['list_id']} for user {found['user_id']}, published {when(found['published_at'])} "
        f"on {found['why']}, learned {learned}",
        markup=False,
    )
    if found["fallback"]:
        out.print(f"fall-back: {found['fallback']}", markup=False)
    rows = [
        (
            item["rank"],
            item["item_id"],
            titles.get(item["item_id"], ""),
            f"{item['score']:.4f}",
            reason(item, titles),
        )
        for item in found["items"]
    ]
    out.print(table(["rank", "item", "title", "score", "why"], rows, right="rank,score"))


def reason(item: Any, titles: dict[str, str]) -> str:
    """Why an item is in the list, in words."""
    earlier = _named(item["because"][:_REASONS_SHOWN], titles)
    text = item["signal"] or "not known"
    if earlier:
        text += f": because of {earlier}"
    if item["propensity"] is not None:
        text += f" (explored, p = {item['propensity']:.3g})"
    return text


def _named(items: Iterable[str], titles: dict[str, str]) -> str:
    return ", ".join(dict.fromkeys(titles.get(item, item) for item in items))


def _context(given: list[str]) -> dict[str, str]:
    made = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise CliError(f"--context {each}: expected NAME=VALUE, such as device=phone", code=2)
        made[name] = value
    return made
