"""The backend of the purchase example as an HTTP service, for flows that are declared. Python's standard library only.

It keeps its data where the other workers look for it, in the folder ERP_FOLDER:
  budget     the amount that may be spent; GET /budget gives it
  blocked    vendors that get no orders, one a line: 422
  closed     while this file exists, orders have to wait: 503
  orders/    the orders, each named by the key that it came with; POST /orders makes one
"""

import json
import os
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ERP = Path(os.environ.get("ERP_FOLDER", "erp"))
PORT = int(os.environ.get("ERP_PORT", "7500"))

BODY_BYTES_MAX = 64 * 1024


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/budget":
            return self.answer(404, {"error": "there is only /budget"})
        try:
            self.answer(200, {"budget": float((ERP / "budget").read_text())})
        except (OSError, ValueError):
            self.answer(503, {"error": "the budget cannot be read"})

    def do_POST(self) -> None:
        key = self.headers.get("Idempotency-Key", "")
        length = int(self.headers.get("Content-Length", "0"))
        if self.path != "/orders" or not re.fullmatch(r"[0-9a-f-]{36}", key) or length > BODY_BYTES_MAX:
            return self.answer(400, {"error": "an order goes to /orders and has the id of its job as Idempotency-Key"})
        order = json.loads(self.rfile.read(length))
        blocked = ERP / "blocked"
        if blocked.exists() and order["vendor"] in blocked.read_text().splitlines():
            return self.answer(422, {"error": "this vendor gets no orders"})
        if (ERP / "closed").exists():
            return self.answer(503, {"error": "closed"})
        # Named by its key: an order that comes again is the same order, and not a second one.
        (ERP / "orders").mkdir(parents=True, exist_ok=True)
        (ERP / "orders" / key).write_text(f"{order['vendor']} {order['amount']}\n")
        self.answer(201, {"number": f"PO-{key}"})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    print(f"the ERP is at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
