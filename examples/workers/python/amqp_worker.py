"""A worker over AMQP, with pika. Flows run in threads; the connection belongs to the main thread alone, which also
sends the heartbeats: a flow that takes an hour holds up neither the broker's heartbeats nor Quorate's."""

import json
import logging
import os
import queue
import signal
import socket
import threading
import time
from dataclasses import dataclass

import pika
from pika.exceptions import AMQPError

from flows import FlowError, Job, run

URL = os.environ.get("QUORATE_AMQP_URL", "amqp://localhost")
PREFIX = os.environ.get("QUORATE_AMQP_PREFIX", "quorate")
TASK_QUEUES = os.environ.get("QUORATE_TASK_QUEUE", "default,erp").split(",")
CONCURRENCY = int(os.environ.get("QUORATE_CONCURRENCY", "4"))
# How many jobs of each task queue are carried out at once.
PLACES = max(1, CONCURRENCY // len(TASK_QUEUES))
GRACE_SECONDS = float(os.environ.get("QUORATE_GRACE", "30"))
WORKER = f"{socket.gethostname()}:{os.getpid()}"

# How long the loop sleeps when nothing comes: heartbeats are late by no more than this.
TICK_SECONDS = 0.2
# After this a job lives by its heartbeats: the broker does not let a delivery wait for ever.
HELD_SECONDS_MAX = float(os.environ.get("QUORATE_ACKNOWLEDGE_AFTER", "300"))
RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 0.5, 30.0
PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="application/json")

log = logging.getLogger("worker")


@dataclass
class Running:
    job: Job
    task_queue: str
    consumer: str
    tag: int | None  # None: acknowledged already, or delivered on a connection that is gone
    lives_by_heartbeats: bool = False
    started: float | None = None  # when STARTED was confirmed
    heartbeat: float = 0.0
    report: dict | None = None  # the last one, until it is confirmed


class Worker:
    def __init__(self) -> None:
        self.running: dict[tuple[str, int], Running] = {}
        self.finished: queue.SimpleQueue[tuple[Running, dict]] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.stop_at = float("inf")

    def stop(self, *_: object) -> None:
        self.stop_at = min(self.stop_at, time.monotonic() + GRACE_SECONDS)
        self.stopping.set()

    def serve(self) -> None:
        pause = RECONNECT_SECONDS_MIN
        while not self.is_over():
            try:
                connection = pika.BlockingConnection(pika.URLParameters(URL))
                try:
                    self.connect(connection)
                    pause = RECONNECT_SECONDS_MIN
                    self.loop()
                finally:
                    if connection.is_open:
                        connection.close()
            except (AMQPError, OSError) as error:
                log.warning("the broker is away: %s", type(error).__name__)
                time.sleep(pause)
                pause = min(pause * 2, RECONNECT_SECONDS_MAX)
            for running in self.running.values():
                running.tag = None  # what was not acknowledged comes again

    def connect(self, connection: pika.BlockingConnection) -> None:
        self.connection, self.channel = connection, connection.channel()
        self.channel.confirm_delivery()  # basic_publish waits for the confirm, and raises without one
        # Counted for each consumer. A consumer is a place: the broker gives it the next job when this one is acknowledged.
        self.channel.basic_qos(prefetch_count=1)
        self.consumers: dict[str, str] = {}  # the task queue of each
        self.channel.exchange_declare(f"{PREFIX}.jobs", "direct", durable=True)
        dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{PREFIX}.dead"}
        for name in TASK_QUEUES:  # passive=True where the server was configured to make them of another type
            self.channel.queue_declare(f"{PREFIX}.jobs.{name}", durable=True, arguments=dead)
            self.channel.queue_bind(f"{PREFIX}.jobs.{name}", f"{PREFIX}.jobs", name)
        if not self.stopping.is_set():
            for name in TASK_QUEUES:
                self.fill(name)
            log.info("serving %s", ", ".join(TASK_QUEUES))

    def fill(self, name: str) -> None:
        """A consumer for each place that no job holds which the broker does not count any more."""
        long = sum(running.lives_by_heartbeats and running.task_queue == name for running in self.running.values())
        for _ in range(PLACES - long - list(self.consumers.values()).count(name)):
            self.consumers[self.channel.basic_consume(f"{PREFIX}.jobs.{name}", self.take)] = name

    def loop(self) -> None:
        while not self.is_over():
            self.connection.process_data_events(time_limit=TICK_SECONDS)
            while not self.finished.empty():
                running, running.report = self.finished.get()
            for key, running in list(self.running.items()):
                if running.started is None:
                    self.send(running.job.report("STARTED", worker=WORKER))
                    running.started = running.heartbeat = time.monotonic()
                if running.report is not None:
                    self.send(running.report)
                    self.acknowledge(running)  # only now: who dies before gets the job again
                    del self.running[key]
                    if not self.stopping.is_set():
                        self.fill(running.task_queue)
                else:
                    self.keep_alive(running)
            if self.stopping.is_set():
                while self.consumers:  # what is in the buffer already goes back by itself
                    self.channel.basic_cancel(self.consumers.popitem()[0])
        for running in self.running.values():
            running.job.cancelled.set()
            if running.lives_by_heartbeats:  # acknowledged long ago: nobody else would get it
                self.send(running.job.failed(FlowError("WORKER_STOPPED", "the worker stopped")))

    def take(self, _channel, method, _properties, body: bytes) -> None:
        try:
            job = Job.read(json.loads(body))
        except (ValueError, RecursionError) as error:
            log.error("rejected: %s", error)
            return self.channel.basic_reject(method.delivery_tag, requeue=False)
        if self.stopping.is_set():
            return self.channel.basic_nack(method.delivery_tag, requeue=True)
        known = self.running.get((job.job, job.attempt))
        if known is not None:
            if known.tag is not None or known.lives_by_heartbeats:  # another copy of what runs
                return self.channel.basic_ack(method.delivery_tag)
            # It came again because its connection was lost: the new delivery is the one to acknowledge.
            known.consumer, known.tag = method.consumer_tag, method.delivery_tag
            return
        task_queue = self.consumers[method.consumer_tag]
        running = self.running[job.job, job.attempt] = Running(job, task_queue, method.consumer_tag, method.delivery_tag)
        threading.Thread(target=self.carry_out, args=[running], daemon=True).start()

    def carry_out(self, running: Running) -> None:
        self.finished.put((running, run(running.job)))
        try:
            self.connection.add_callback_threadsafe(lambda: None)  # wakes the loop
        except AMQPError:
            pass  # it will see it when it is connected again

    def keep_alive(self, running: Running) -> None:
        job, now = running.job, time.monotonic()
        if job.timeout is not None and now - running.started > job.timeout:
            job.cancelled.set()  # a result would come too late, and be refused
        if job.heartbeat_interval is not None and now - running.heartbeat >= job.heartbeat_interval / 3:
            running.heartbeat = now
            self.send(job.report("HEARTBEAT"))
        if now - running.started > HELD_SECONDS_MAX and running.tag is not None:
            running.lives_by_heartbeats = True
            # Its place first: the broker would fill it with another job at once.
            if self.consumers.pop(running.consumer, None) is not None:
                self.channel.basic_cancel(running.consumer)
            self.acknowledge(running)
            log.info("job %s lives by its heartbeats", job.job)

    def send(self, report: dict) -> None:
        self.channel.basic_publish("", f"{PREFIX}.results", json.dumps(report), PERSISTENT, mandatory=True)

    def acknowledge(self, running: Running) -> None:
        if running.tag is not None:
            self.channel.basic_ack(running.tag)
            running.tag = None

    def is_over(self) -> bool:
        return self.stopping.is_set() and (not self.running or time.monotonic() > self.stop_at)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    worker = Worker()
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    worker.serve()
