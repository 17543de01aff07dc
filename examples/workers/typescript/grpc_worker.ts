/** A worker over gRPC, with @grpc/grpc-js: the same flows where there is no broker. */

import { EventEmitter, once } from "node:events";
import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";

import { credentials, loadPackageDefinition, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import type { CallOptions, ClientReadableStream, ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import { failed, FlowError, isObject, readJob, report, run, type Job, type Json, type JsonObject, type Report } from "./flows.js";

// This file runs from the folder `dist`.
const PROTO = fileURLToPath(new URL("../../../../proto", import.meta.url));
const SERVER = (process.env["QUORATE_SERVER"] ?? "127.0.0.1:7400").replace(/^http:\/\//, "");
const TASK_QUEUES = (process.env["QUORATE_TASK_QUEUE"] ?? "default,erp").split(",");
const CONCURRENCY = Number(process.env["QUORATE_CONCURRENCY"] ?? 4);
const GRACE_MS = Number(process.env["QUORATE_GRACE"] ?? 30) * 1000;
const WORKER = `${hostname()}:${process.pid}`;
const METADATA = new Metadata();
if (process.env["QUORATE_TOKEN"] !== undefined) METADATA.set("authorization", `Bearer ${process.env["QUORATE_TOKEN"]}`);
// For `quorate dev`, which takes no tokens.
if (process.env["QUORATE_AS"] !== undefined) METADATA.set("quorate-user", process.env["QUORATE_AS"]);

const CALL_MS_MAX = 10_000;
const [RECONNECT_MS_MIN, RECONNECT_MS_MAX] = [500, 30_000];
// A server that is gone without a word is noticed, also where nothing is to be said: a stream may be silent for hours.
const KEEPALIVE = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
};
// How long a worker that stops tries to say what becomes of its jobs.
const LAST_REPORTS_MS_MAX = 2000;
// The answers to a report that say that the attempt is not live any more: it is over, or had this report already.
const OVER = [status.FAILED_PRECONDITION, status.NOT_FOUND];
// The answers that say that the report itself is wrong.
const UNREADABLE = [status.INVALID_ARGUMENT, status.OUT_OF_RANGE];
// The answers that say that the worker is not let in.
const DENIED = [status.UNAUTHENTICATED, status.PERMISSION_DENIED];

interface Duration {
  seconds: number;
  nanos?: number;
}

interface Value {
  kind?: string;
  [kind: string]: unknown;
}

interface Struct {
  fields?: Record<string, Value>;
}

interface JobMessage {
  job: string;
  attempt: number;
  token: string;
  flow: string;
  input?: Struct;
  timeout?: Duration;
  heartbeat_interval?: Duration;
}

type ReportMessage = Omit<Report, "output"> & { output?: Struct };

interface JobService {
  StreamJobs(
    request: { task_queues: string[]; concurrency: number; worker: string },
    metadata: Metadata,
  ): ClientReadableStream<{ job: JobMessage }>;
  ReportJob(
    request: { report: ReportMessage },
    metadata: Metadata,
    options: CallOptions,
    answer: (error: ServiceError | null) => void,
  ): void;
}

class Worker {
  private readonly client = connect();
  private readonly running = new Map<string, Job>();
  private readonly stopping = new AbortController();
  private readonly changes = new EventEmitter();
  private refused: ServiceError | undefined;

  stop(): void {
    this.stopping.abort();
  }

  async serve(): Promise<number> {
    const stopped = once(this.stopping.signal, "abort");
    void this.receive();
    await stopped;
    // The stream stays open until the last report: what runs would go to another worker.
    const over = AbortSignal.timeout(GRACE_MS);
    while (this.running.size > 0 && !over.aborted) await once(this.changes, "ended", { signal: over }).catch(() => {});
    await this.handBack();
    if (this.refused === undefined) return 0;
    console.error(`the server does not let this worker in: ${status[this.refused.code]}`);
    return 1;
  }

  /** What has run for long the server does not give to another worker by itself. */
  private async handBack(): Promise<void> {
    const left = [...this.running.values()];
    const stopped = new FlowError("WORKER_STOPPED", "the worker stopped");
    const reports = left.map((job) => this.report(job, failed(job, stopped)));
    await Promise.race([Promise.all(reports), sleep(LAST_REPORTS_MS_MAX)]);
    for (const job of left) job.cancel.abort();
  }

  private async receive(): Promise<void> {
    let pause = RECONNECT_MS_MIN;
    const request = { task_queues: TASK_QUEUES, concurrency: CONCURRENCY, worker: WORKER };
    while (!this.stopping.signal.aborted) {
      try {
        const stream = this.client.StreamJobs(request, METADATA);
        stream.on("metadata", () => console.log(`serving ${TASK_QUEUES.join(", ")}`)); // the server answered
        for await (const { job } of stream as AsyncIterable<{ job: JobMessage }>) {
          pause = RECONNECT_MS_MIN;
          await this.take(readJob(jobToJson(job)));
        }
      } catch (error) {
        if (isServiceError(error) && [...DENIED, ...UNREADABLE].includes(error.code)) {
          this.refused = error;
          return this.stop();
        }
        console.warn(`the server is away: ${isServiceError(error) ? status[error.code] : String(error)}`);
      }
      await sleep(pause, undefined, { signal: this.stopping.signal }).catch(() => {});
      pause = Math.min(pause * 2, RECONNECT_MS_MAX);
    }
  }

  private async take(job: Job): Promise<void> {
    const key = `${job.job}/${job.attempt}`;
    if (this.running.has(key)) return;
    // After a lost connection the server does not count what still runs here.
    while (this.running.size >= CONCURRENCY) await once(this.changes, "ended");
    // What comes while it stops goes to another worker when the stream ends.
    if (this.stopping.signal.aborted) return;
    this.running.set(key, job);
    void this.carryOut(job).finally(() => {
      this.running.delete(key);
      this.changes.emit("ended");
    });
  }

  private async carryOut(job: Job): Promise<void> {
    if ((await this.report(job, report(job, "STARTED", { worker: WORKER }))) !== status.OK) return;
    const cancelled = once(job.cancel.signal, "abort").then(() => undefined);
    const timeout = job.timeout === undefined ? undefined : setTimeout(() => job.cancel.abort(), job.timeout);
    const ended = new AbortController();
    void this.keepAlive(job, ended.signal);
    // Nobody waits for the result of an attempt that was cancelled.
    const result = await Promise.race([run(job), cancelled]);
    ended.abort();
    clearTimeout(timeout);
    if (result === undefined || job.cancel.signal.aborted) return;
    if (UNREADABLE.includes(await this.report(job, result)) && result.status === "COMPLETED") {
      // Where the server has not ended the attempt by this: without a report it would be made again, and come to the same.
      await this.report(job, failed(job, new FlowError("OUTPUT_INVALID", "the server cannot read this output", false)));
    }
  }

  private async keepAlive(job: Job, ended: AbortSignal): Promise<void> {
    while (job.heartbeatInterval !== undefined && !ended.aborted) {
      await sleep(job.heartbeatInterval / 3, undefined, { signal: ended }).catch(() => {});
      if (ended.aborted) return;
      if ((await this.report(job, report(job, "HEARTBEAT"))) !== status.OK) return job.cancel.abort();
    }
  }

  /** Sends a report until it is stored or refused. */
  private async report(job: Job, { output, ...rest }: Report): Promise<status> {
    const message = { report: output === undefined ? rest : { ...rest, output: toStruct(output) } };
    for (let pause = RECONNECT_MS_MIN; ; pause = Math.min(pause * 2, RECONNECT_MS_MAX)) {
      const error = await new Promise<ServiceError | null>((answer) => {
        this.client.ReportJob(message, METADATA, { deadline: Date.now() + CALL_MS_MAX }, answer);
      });
      if (error === null) return status.OK;
      if ([...OVER, ...UNREADABLE, ...DENIED].includes(error.code)) {
        console.warn(`a report of job ${job.job} was refused: ${status[error.code]}`);
        return error.code;
      }
      await sleep(pause);
    }
  }
}

/** The service, read from the .proto files: no generated code is kept. Without TLS. */
function connect(): JobService {
  const options = { includeDirs: [PROTO], keepCase: true, longs: Number, oneofs: true };
  const root = loadPackageDefinition(loadSync("quorate/v1/job_service.proto", options));
  const { quorate } = root as unknown as { quorate: { v1: { JobService: ServiceClientConstructor } } };
  return new quorate.v1.JobService(SERVER, credentials.createInsecure(), KEEPALIVE) as unknown as JobService;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number";
}

/** The message in its JSON mapping, as it comes over AMQP. */
function jobToJson({ job, attempt, token, flow, input, timeout, heartbeat_interval }: JobMessage): JsonObject {
  const seconds = (duration: Duration | null | undefined) =>
    duration == null ? null : `${(duration.seconds + (duration.nanos ?? 0) / 1e9).toFixed(9)}s`;
  const times = { timeout: seconds(timeout), heartbeat_interval: seconds(heartbeat_interval) };
  return { job, attempt, token, flow, input: fromStruct(input ?? {}), ...times };
}

function fromStruct({ fields = {} }: Struct): JsonObject {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, fromValue(value)]));
}

function fromValue(value: Value): Json {
  switch (value.kind) {
    case "structValue":
      return fromStruct(value["structValue"] as Struct);
    case "listValue":
      return ((value["listValue"] as { values?: Value[] }).values ?? []).map(fromValue);
    case "numberValue":
    case "stringValue":
    case "boolValue":
      return value[value.kind] as Json;
    default:
      return null;
  }
}

function toStruct(object: JsonObject): Struct {
  return { fields: Object.fromEntries(Object.entries(object).map(([name, value]) => [name, toValue(value)])) };
}

function toValue(value: Json): Value {
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } };
  if (isObject(value)) return { structValue: toStruct(value) };
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "string") return { stringValue: value };
  return typeof value === "boolean" ? { boolValue: value } : { nullValue: 0 };
}

const worker = new Worker();
process.on("SIGTERM", () => worker.stop());
process.on("SIGINT", () => worker.stop());
process.exit(await worker.serve());
