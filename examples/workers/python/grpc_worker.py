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

from flows import Job, run

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
RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 0.5, 30.0
# How often the main thread looks whether the server refused the worker.
TICK_SECONDS = 0.2
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The answers to a report that say that the attempt is not live any more.
REFUSED = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED)
# What does not get better by waiting.
WRONG = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)

log = logging.getLogger("worker")


class Worker:
    def __init__(self) -> None:
        self.stub = services.JobServiceStub(grpc.insecure_channel(SERVER))
        self.running: dict[tuple[str, int], Job] = {}
        self.lock = threading.Lock()
        self.idle = threading.Condition(self.lock)
        self.stopping = threading.Event()
        self.refused: grpc.StatusCode | None = None

    def receive(self) -> None:
        pause = RECONNECT_SECONDS_MIN
        while not self.stopping.is_set():
            request = protos.JobServiceStreamJobsRequest(task_queues=TASK_QUEUES, concurrency=CONCURRENCY, worker=WORKER)
            try:
                stream = self.stub.StreamJobs(request, metadata=METADATA)
                stream.initial_metadata()  # the server answered
                log.info("serving %s", ", ".join(TASK_QUEUES))
                for answer in stream:
                    pause = RECONNECT_SECONDS_MIN
                    self.take(Job.read(json_format.MessageToDict(answer.job, preserving_proto_field_name=True)))
            except grpc.RpcError as error:
                if error.code() in WRONG:
                    self.refused = error.code()
                    return self.stopping.set()
                log.warning("the server is away: %s", error.code().name)
            self.stopping.wait(pause)
            pause = min(pause * 2, RECONNECT_SECONDS_MAX)

    def take(self, job: Job) -> None:
        with self.lock:
            # What comes while it stops goes to another worker when the stream ends.
            if self.stopping.is_set() or (job.job, job.attempt) in self.running:
                return
            self.running[job.job, job.attempt] = job
        threading.Thread(target=self.carry_out, args=[job], daemon=True).start()

    def carry_out(self, job: Job) -> None:
        try:
            if self.report(job, job.report("STARTED", worker=WORKER)):
                result = self.watch(job)
                if result is not None:
                    self.report(job, result)
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
            if interval is not None and not self.report(job, job.report("HEARTBEAT")):
                job.cancelled.set()
                return None

    def report(self, job: Job, report: dict) -> bool:
        """Sends a report until it is stored. False where the attempt is not live any more."""
        message = json_format.ParseDict(report, jobs_protos.JobReport())
        pause = RECONNECT_SECONDS_MIN
        while True:
            try:
                request = protos.JobServiceReportJobRequest(report=message)
                self.stub.ReportJob(request, metadata=METADATA, timeout=CALL_SECONDS_MAX)
                return True
            except grpc.RpcError as error:
                if error.code() in REFUSED or error.code() in WRONG:
                    log.warning("a report of job %s was refused: %s", job.job, error.code().name)
                    return False
            time.sleep(pause)
            pause = min(pause * 2, RECONNECT_SECONDS_MAX)

    def serve(self) -> int:
        threading.Thread(target=self.receive, daemon=True).start()
        while not self.stopping.is_set() and signal.sigtimedwait(SIGNALS, TICK_SECONDS) is None:
            pass
        self.stopping.set()
        with self.lock:
            # The stream stays open until the last report: what runs would go to another worker.
            self.idle.wait_for(lambda: not self.running, GRACE_SECONDS)
            for job in self.running.values():
                job.cancelled.set()
        if self.refused is not None:
            log.error("the server does not let this worker in: %s", self.refused.name)
        return 0 if self.refused is None else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Waited for instead of handled: a handler would not run while a signal that another thread got leaves the main thread asleep.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    sys.exit(Worker().serve())
