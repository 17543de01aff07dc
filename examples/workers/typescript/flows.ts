/**
 * The flows of examples/purchase-request, whichever way their jobs come.
 *
 * The backend of this example is a folder, ERP_FOLDER:
 *   budget     the amount that may be spent; a budget that is missing cannot be checked
 *   blocked    vendors that get no orders, one a line
 *   closed     while this file exists, orders wait
 *   orders/    the orders, each named by the job that made it
 */

import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const ERP = process.env["ERP_FOLDER"] ?? "erp";

/** How often an order looks whether the backend is open again. */
const OPEN_POLL_MS = 100;
/** The server cuts messages there. */
const MESSAGE_CHARS_MAX = 2000;
/** A report may have 256 KiB; the rest is for what surrounds the output. */
const OUTPUT_BYTES_MAX = 255 * 1024;

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

/** Why a flow failed. `code` is what retry policies look at; `retryable` says whether another attempt may help. */
export class FlowError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly retryable = true,
  ) {
    super(message);
  }
}

/** What a worker needs of a job. Other fields are ignored, as the contract asks. */
export interface Job {
  job: string;
  attempt: number;
  token: string;
  flow: string;
  input: JsonObject;
  /** In milliseconds, as is the interval. */
  timeout: number | undefined;
  heartbeatInterval: number | undefined;
  /** Aborted when the attempt has run out of time, is refused by the server, or the worker stops. */
  cancel: AbortController;
}

export interface Report {
  job: string;
  attempt: number;
  token: string;
  status: "STARTED" | "HEARTBEAT" | "COMPLETED" | "FAILED";
  worker?: string;
  output?: JsonObject;
  error?: { code: string; message: string; retryable: boolean };
}

/** Throws where the body is no job. */
export function readJob(body: Json): Job {
  if (!isObject(body)) throw new Error("not a job: not an object");
  const { job, attempt, token, flow, input = {}, timeout = null, heartbeat_interval: interval = null } = body;
  if (typeof job !== "string" || typeof token !== "string" || typeof flow !== "string") {
    throw new Error("not a job: job, token and flow are texts");
  }
  if (!Number.isInteger(attempt) || !isObject(input)) throw new Error("not a job: attempt is a number, input an object");
  const [timeoutMs, intervalMs] = [milliseconds(timeout), milliseconds(interval)];
  return {
    ...{ job, attempt: attempt as number, token, flow, input },
    ...{ timeout: timeoutMs, heartbeatInterval: intervalMs, cancel: new AbortController() },
  };
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A duration of the proto3 JSON mapping, such as 1.500s. */
function milliseconds(duration: Json): number | undefined {
  if (duration === null) return undefined;
  const match = typeof duration === "string" ? /^(\d+(?:\.\d+)?)s$/.exec(duration) : null;
  if (match === null) throw new Error("not a job: a duration is a text such as 1.500s");
  return Number(match[1]) * 1000;
}

export function report(job: Job, status: Report["status"], rest: Partial<Report> = {}): Report {
  return { job: job.job, attempt: job.attempt, token: job.token, status, ...rest };
}

export function failed(job: Job, { code, message, retryable }: FlowError): Report {
  return report(job, "FAILED", { error: { code, message: message.slice(0, MESSAGE_CHARS_MAX), retryable } });
}

async function checkBudget(job: Job): Promise<JsonObject> {
  const text = await readFile(join(ERP, "budget"), "utf8").catch(() => "");
  const budget = text.trim() === "" ? NaN : Number(text);
  if (Number.isNaN(budget)) throw new FlowError("BUDGET_DOWN", "the budget cannot be read");
  return { ok: Number(job.input["amount"]) <= budget };
}

async function createOrder(job: Job): Promise<JsonObject> {
  const { vendor, amount } = job.input;
  const blocked = await readFile(join(ERP, "blocked"), "utf8").catch(() => "");
  if (blocked.split("\n").includes(String(vendor))) {
    throw new FlowError("VENDOR_BLOCKED", "this vendor gets no orders", false);
  }
  while (await exists(join(ERP, "closed"))) {
    await sleep(OPEN_POLL_MS, undefined, { signal: job.cancel.signal }).catch(() => {
      throw new FlowError("CANCELLED", "the attempt is over");
    });
  }
  // Named by the job: an order that comes again is the same order, and not a second one.
  await mkdir(join(ERP, "orders"), { recursive: true });
  await writeFile(join(ERP, "orders", job.job), `${String(vendor)} ${String(amount)}\n`);
  return { order: `PO-${job.job}` };
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function done(): Promise<JsonObject> {
  return {};
}

/** A flow must not compute for long without an `await`: heartbeats are sent by the same thread. */
const FLOWS = new Map<string, (job: Job) => Promise<JsonObject>>([
  ["check-budget", checkBudget],
  ["create-order", createOrder],
  ["notify-failure", done],
  ["notify-rejection", done],
  ["release-budget", done],
]);

/** Carries out a job and gives the report that ends its attempt. Never rejects. */
export async function run(job: Job): Promise<Report> {
  const flow = FLOWS.get(job.flow);
  if (flow === undefined) return failed(job, new FlowError("UNKNOWN_FLOW", `this worker does not serve ${job.flow}`));
  try {
    const output = await flow(job);
    if (Buffer.byteLength(JSON.stringify(output)) > OUTPUT_BYTES_MAX) {
      throw new FlowError("OUTPUT_TOO_LARGE", `more than ${OUTPUT_BYTES_MAX} bytes`, false);
    }
    return report(job, "COMPLETED", { output });
  } catch (error) {
    // Whatever went wrong is the attempt's failure, not the worker's.
    if (error instanceof FlowError) return failed(job, error);
    return failed(job, error instanceof Error ? new FlowError(error.name, error.message) : new FlowError("ERROR", String(error)));
  }
}
