"""The flows of examples/purchase-request, whichever way their jobs come.

The backend of this example is a folder, ERP_FOLDER:
  budget     the amount that may be spent; a budget that is missing cannot be checked
  blocked    vendors that get no orders, one a line
  closed     while this file exists, orders wait
  orders/    the orders, each named by the job that made it
"""

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

ERP = Path(os.environ.get("ERP_FOLDER", "erp"))

# How often an order looks whether the backend is open again.
OPEN_POLL_SECONDS = 0.1
# The server cuts messages there.
MESSAGE_CHARS_MAX = 2000
# A report may have 256 KiB; the rest is for what surrounds the output.
OUTPUT_BYTES_MAX = 255 * 1024


class FlowError(Exception):
    """Why a flow failed. `code` is what retry policies look at; `retryable` says whether another attempt may help."""

    def __init__(self, code: str, message: str, retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


@dataclass
class Job:
    """What a worker needs of a job. Other fields are ignored, as the contract asks."""

    job: str
    attempt: int
    token: str
    flow: str
    input: dict[str, Any]
    timeout: float | None
    heartbeat_interval: float | None
    # Set when the attempt has run out of time, is refused by the server, or the worker stops.
    cancelled: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def read(cls, body: Any) -> "Job":
        """Raises ValueError where the body is no job."""
        try:
            job = cls(body["job"], body["attempt"], body["token"], body["flow"], body.get("input", {}),
                      seconds(body.get("timeout")), seconds(body.get("heartbeat_interval")))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a job: {error!r}") from error
        texts = (job.job, job.token, job.flow)
        if not all(isinstance(text, str) for text in texts) or type(job.attempt) is not int or not isinstance(job.input, dict):
            raise ValueError("not a job: a field has another type")
        return job

    def report(self, status: str, **rest: Any) -> dict[str, Any]:
        return {"job": self.job, "attempt": self.attempt, "token": self.token, "status": status, **rest}

    def failed(self, error: FlowError) -> dict[str, Any]:
        message = str(error)[:MESSAGE_CHARS_MAX]
        return self.report("FAILED", error={"code": error.code, "message": message, "retryable": error.retryable})


def seconds(duration: str | None) -> float | None:
    """A duration of the proto3 JSON mapping, such as 1.500s."""
    return None if duration is None else float(duration.removesuffix("s"))


def check_budget(job: Job) -> dict[str, Any]:
    try:
        budget = float((ERP / "budget").read_text())
    except (OSError, ValueError) as error:
        raise FlowError("BUDGET_DOWN", "the budget cannot be read") from error
    return {"ok": job.input["amount"] <= budget}


def create_order(job: Job) -> dict[str, Any]:
    blocked = ERP / "blocked"
    if blocked.exists() and job.input["vendor"] in blocked.read_text().splitlines():
        raise FlowError("VENDOR_BLOCKED", "this vendor gets no orders", retryable=False)
    while (ERP / "closed").exists():
        if job.cancelled.wait(OPEN_POLL_SECONDS):
            raise FlowError("CANCELLED", "the attempt is over")
    # Named by the job: an order that comes again is the same order, and not a second one.
    (ERP / "orders").mkdir(parents=True, exist_ok=True)
    (ERP / "orders" / job.job).write_text(f"{job.input['vendor']} {job.input['amount']}\n")
    return {"order": f"PO-{job.job}"}


def done(_job: Job) -> dict[str, Any]:
    return {}


FLOWS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "check-budget": check_budget,
    "create-order": create_order,
    "notify-failure": done,
    "notify-rejection": done,
    "release-budget": done,
}


def run(job: Job) -> dict[str, Any]:
    """Carries out a job and gives the report that ends its attempt. Never raises."""
    flow = FLOWS.get(job.flow)
    if flow is None:
        return job.failed(FlowError("UNKNOWN_FLOW", f"this worker does not serve {job.flow}"))
    try:
        output = flow(job)
        if len(json.dumps(output, allow_nan=False)) > OUTPUT_BYTES_MAX:  # raises where it has no JSON form
            raise FlowError("OUTPUT_TOO_LARGE", f"more than {OUTPUT_BYTES_MAX} bytes", retryable=False)
        return job.report("COMPLETED", output=output)
    except FlowError as error:
        return job.failed(error)
    except Exception as error:  # whatever went wrong is the attempt's failure, not the worker's
        return job.failed(FlowError(type(error).__name__, str(error)))
