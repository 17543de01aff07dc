"""A worker over gRPC, with grpcio: the same flows where there is no broker. Each job has a thread for its flow, and one
that sends its heartbeats and its report."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import grpc
from google.protobuf import json_format

from flows import FlowError, Job, run

sys.path.append(str(Path(__file__).resolve().parents[3] / "proto"))
protos, services = grpc.protos_and_services("quorate/v1/job_service.proto")
jobs_protos = grpc.protos("quorate/v1/jobs.proto")

SERVER = os.environ.get("QUORATE_SERVER", "127.0.0.1:7400").removeprefix("http://")
METADATA = [("authorization", f"Bearer {os.environ['QUORATE_TOKEN']}")] if "QUORATE_TOKEN" in os.environ else []
if "QUORATE_AS" in os.environ:  # for `quorate dev`, which takes no tokens
    METADATA.append(("quorate-user", os.environ["QUORATE_AS"]))
TASK_QUEUES = os.environ.get("QUORATE_TASK_QUEUE", "default,erp").split(",")
CONCURRENCY = int(os.environ.get("QUORATE_CONCURRENCY", "4"))
GRACE_SECONDS = float(os.environ.get("QUORATE_GRACE", "30"))
WORKER = f"{socket.gethostname()}:{os.getpid()}"

CALL_SECONDS_MAX = 10
# A server that is gone without a word is noticed, also where nothing is to be said: a stream may be silent for hours.
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 0.5, 30.0
# How often the main thread looks whether it is to stop.
TICK_SECONDS = 0.2
# How long a worker that stops tries to say what becomes of its jobs.
LAST_REPORTS_SECONDS_MAX = 2
# The answers to a report that say that the attempt is not live any more: it is over, or had this report already.
OVER = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)
# The answers that say that the report itself is wrong.
UNREADABLE = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
# The answers that say that the worker is not let in.
DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

log = logging.getLogger("worker")


class Worker:
    def __init__(self) -> None:
        self.stub = services.JobServiceStub(grpc.insecure_channel(SERVER, KEEPALIVE))
        self.running: dict[tuple[str, int], Job] = {}
        self.lock = threading.Lock()
        self.idle = threading.Condition(self.lock)
        self.asked_to_stop = False
        self.stopping = threading.Event()
        self.refused: grpc.StatusCode | None = None

    def receive(self) -> None:
        pause = RECONNECT_SECONDS_MIN
        while not self.stopping.is_set():
            request = protos.JobServiceStreamJobsRequest(task_queues=TASK_QUEUES, concurrency=CONCURRENCY, worker=WORKER)
            try:
                stream = self.stub.StreamJobs(request, metadata=METADATA)
                stream.initial_metadata()
                if stream.is_active():  # the server answered
                    log.info("serving %s", ", ".join(TASK_QUEUES))
                for answer in stream:
                    pause = RECONNECT_SECONDS_MIN
                    self.take(Job.read(json_format.MessageToDict(answer.job, preserving_proto_field_name=True)))
            except grpc.RpcError as error:
                if error.code() in DENIED or error.code() in UNREADABLE:
                    self.refused = error.code()
                    return self.stopping.set()
                log.warning("the server is away: %s", error.code().name)
            self.stopping.wait(pause)
            pause = min(pause * 2, RECONNECT_SECONDS_MAX)

    def take(self, job: Job) -> None:
        with self.lock:
            if (job.job, job.attempt) in self.running:
                return
            # After a lost connection the server does not count what still runs here.
            self.idle.wait_for(lambda: len(self.running) < CONCURRENCY)
            # What comes while it stops goes to another worker when the stream ends.
            if self.stopping.is_set():
                return
            self.running[job.job, job.attempt] = job
        threading.Thread(target=self.carry_out, args=[job], daemon=True).start()

    def carry_out(self, job: Job) -> None:
        try:
            if self.report(job, job.report("STARTED", worker=WORKER)) == grpc.StatusCode.OK:
                result = self.watch(job)
                if result is not None and self.report(job, result) in UNREADABLE and result["status"] == "COMPLETED":
                    # Where the server has not ended the attempt by this: without a report it would be made again, and come to the same.
                    error = FlowError("OUTPUT_INVALID", "the server cannot read this output", retryable=False)
                    self.report(job, job.failed(error))
        finally:
            with self.lock:
                del self.running[job.job, job.attempt]
                self.idle.notify_all()

    def watch(self, job: Job) -> dict | None:
        """Runs the flow and sends heartbeats meanwhile. None where nobody waits for the result any more."""
        results: list[dict] = []
        flow = threading.Thread(target=lambda: results.append(run(job)), daemon=True)
        flow.start()
        interval = job.heartbeat_interval / 3 if job.heartbeat_interval is not None else None
        deadline = time.monotonic() + job.timeout if job.timeout is not None else None
        while True:
            left = max(0.0, deadline - time.monotonic()) if deadline is not None else None
            flow.join(min((wait for wait in (interval, left) if wait is not None), default=None))
            if not flow.is_alive():
                return results[0]
            if left == 0.0:
                job.cancelled.set()
                return None
            if interval is not None and self.report(job, job.report("HEARTBEAT")) != grpc.StatusCode.OK:
                job.cancelled.set()
                return None

    def report(self, job: Job, report: dict) -> grpc.StatusCode:
        """Sends a report until it is stored or refused."""
        try:
            request = report_request(report)
        except (json_format.ParseError, ValueError) as error:
            log.warning("a report of job %s cannot be sent: %s", job.job, error)
            return grpc.StatusCode.INVALID_ARGUMENT
        pause = RECONNECT_SECONDS_MIN
        while True:
            try:
                self.stub.ReportJob(request, metadata=METADATA, timeout=CALL_SECONDS_MAX)
                return grpc.StatusCode.OK
            except grpc.RpcError as error:
                if error.code() in OVER + UNREADABLE + DENIED:
                    log.warning("a report of job %s was refused: %s", job.job, error.code().name)
                    return error.code()
            time.sleep(pause)
            pause = min(pause * 2, RECONNECT_SECONDS_MAX)

    def stop(self, *_: object) -> None:
        self.asked_to_stop = True  # an Event may be locked by what the signal interrupts

    def serve(self) -> int:
        threading.Thread(target=self.receive, daemon=True).start()
        while not self.asked_to_stop and not self.stopping.is_set():
            time.sleep(TICK_SECONDS)
        self.stopping.set()
        with self.lock:
            # The stream stays open until the last report: what runs would go to another worker.
            self.idle.wait_for(lambda: not self.running, GRACE_SECONDS)
            left = list(self.running.values())
        # What has run for long the server does not give to another worker by itself.
        stopped = [report_request(job.failed(FlowError("WORKER_STOPPED", "the worker stopped"))) for job in left]
        calls = [self.stub.ReportJob.future(request, metadata=METADATA, timeout=LAST_REPORTS_SECONDS_MAX) for request in stopped]
        for job, call in zip(left, calls):
            call.exception()  # ends after that time at the latest
            job.cancelled.set()
        if self.refused is not None:
            log.error("the server does not let this worker in: %s", self.refused.name)
        return 0 if self.refused is None else 1


def report_request(report: dict):
    return protos.JobServiceReportJobRequest(report=json_format.ParseDict(report, jobs_protos.JobReport()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    worker = Worker()
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    sys.exit(worker.serve())
