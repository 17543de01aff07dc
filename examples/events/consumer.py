"""Follows what happens to submissions: one line for each event, each event once. What comes again is told by its sequence, which is
kept in a small database beside the work that it belongs to."""

import json
import logging
import os
import signal
import sqlite3
import sys
import threading

import pika
from pika.exceptions import AMQPError

URL = os.environ.get("QUORATE_AMQP_URL", "amqp://localhost")
PREFIX = os.environ.get("QUORATE_AMQP_PREFIX", "quorate")
QUEUE = os.environ.get("EVENTS_QUEUE", "events-example")
KEYS = os.environ.get("EVENTS_KEYS", "#").split(",")
DATABASE = os.environ.get("EVENTS_DATABASE", "events.db")

PREFETCH = 100
RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 0.5, 30.0
# How often it looks, while nothing comes, whether it is to stop.
LOOK_SECONDS = 0.5

log = logging.getLogger("consumer")


# Set when somebody asks the program to stop: between two messages, so that one that was begun is handled and acknowledged.
stopping = threading.Event()


def stop(*_: object) -> None:
    stopping.set()


def is_new(database: sqlite3.Connection, event: dict) -> bool:
    """Whether the event was not handled before. Sequences are texts that sort as the numbers do."""
    kept = database.execute(
        "insert into seen values (?, ?) on conflict (submission) do update set sequence = excluded.sequence "
        "where excluded.sequence > seen.sequence",
        (event["partitionkey"], event["sequence"]),
    )
    return kept.rowcount > 0


def about(event: dict) -> str:
    """The record and the step; of an event of a flow's own, its subject."""
    if not event["type"].startswith("quorate."):
        return event["subject"]
    data = event["data"]
    return f"{data['record']['id']} {data.get('step', '')}".rstrip()


def read(body: bytes) -> tuple[dict, str]:
    """The event, and the line that is written of it. Raises ValueError where the body is no event."""
    try:
        event = json.loads(body)
        if not all(isinstance(event[name], str) for name in ("type", "partitionkey", "sequence")):
            raise TypeError("an attribute is no text")
        return event, f"{event['type']} {about(event)} {int(event['sequence'])}"
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(repr(error)) from error


def handle(database: sqlite3.Connection, event: dict, line: str) -> None:
    # One transaction: what is done about the event belongs into it. If it fails, the program ends, and the event comes again.
    with database:
        if is_new(database, event):
            print(line, flush=True)


def follow(connection: pika.BlockingConnection, database: sqlite3.Connection) -> None:
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    channel.queue_declare(QUEUE, durable=True)
    for key in KEYS:
        channel.queue_bind(QUEUE, f"{PREFIX}.events", key)
    log.info("following %s", ", ".join(KEYS))
    for method, _, body in channel.consume(QUEUE, inactivity_timeout=LOOK_SECONDS):
        if stopping.is_set():
            return
        if method is None:
            continue
        try:
            event, line = read(body)
        except ValueError as error:
            # It will not become an event by being delivered again.
            log.error("a message that is no event: %s", error)
        else:
            handle(database, event, line)
        channel.basic_ack(method.delivery_tag)


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    database = sqlite3.connect(DATABASE)
    database.execute("create table if not exists seen (submission text primary key, sequence text not null)")
    pause = RECONNECT_SECONDS_MIN
    while not stopping.is_set():
        try:
            with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
                pause = RECONNECT_SECONDS_MIN
                follow(connection, database)
        except (AMQPError, OSError) as error:
            log.warning("the broker is away: %r", error)
        stopping.wait(pause)
        pause = min(pause * 2, RECONNECT_SECONDS_MAX)
    log.info("stopped")
    database.close()


if __name__ == "__main__":
    main()
