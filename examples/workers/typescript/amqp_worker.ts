/** A worker over AMQP, with amqplib. All in one thread: a flow that waits holds up neither heartbeats nor other flows. */

import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

import { connect, type ChannelModel, type ConfirmChannel, type ConsumeMessage } from "amqplib";

import { failed, FlowError, readJob, report, run, type Job, type Report } from "./flows.js";

const URL = process.env["QUORATE_AMQP_URL"] ?? "amqp://localhost";
const PREFIX = process.env["QUORATE_AMQP_PREFIX"] ?? "quorate";
const TASK_QUEUES = (process.env["QUORATE_TASK_QUEUE"] ?? "default,erp").split(",");
const CONCURRENCY = Number(process.env["QUORATE_CONCURRENCY"] ?? 4);
// How many jobs of each task queue are carried out at once.
const PLACES = Math.max(1, Math.floor(CONCURRENCY / TASK_QUEUES.length));
const GRACE_MS = Number(process.env["QUORATE_GRACE"] ?? 30) * 1000;
// After this a job lives by its heartbeats: the broker does not let a delivery wait for ever.
const HELD_MS_MAX = Number(process.env["QUORATE_ACKNOWLEDGE_AFTER"] ?? 300) * 1000;
const WORKER = `${hostname()}:${process.pid}`;

const CONNECT_MS_MAX = 10_000;
const [RECONNECT_MS_MIN, RECONNECT_MS_MAX] = [500, 30_000];
// How long a worker that stops tries to say what becomes of its jobs.
const LAST_REPORTS_MS_MAX = 2000;

interface Session {
  connection: ChannelModel;
  channel: ConfirmChannel;
  // The task queue of each. A consumer is a place: the broker gives it the next job when this one is acknowledged.
  consumers: Map<string, string>;
  // Messages that no queue took: the broker says so before it confirms them.
  returned: Set<string>;
}

interface Running {
  job: Job;
  taskQueue: string;
  // Undefined: acknowledged already, or delivered on a connection that is gone.
  delivery: { channel: ConfirmChannel; message: ConsumeMessage } | undefined;
  livesByHeartbeats: boolean;
}

class Worker {
  private readonly running = new Map<string, Running>();
  private readonly stopping = new AbortController();
  private readonly over = new AbortController();
  private readonly changes = new EventEmitter().setMaxListeners(0);
  private session: Session | undefined;

  async serve(): Promise<void> {
    let pause = RECONNECT_MS_MIN;
    while (!this.over.signal.aborted) {
      try {
        const connection = await connect(URL, { timeout: CONNECT_MS_MAX });
        await this.hold(connection, () => (pause = RECONNECT_MS_MIN));
      } catch (error) {
        console.warn(`the broker is away: ${error instanceof Error ? error.name : String(error)}`);
      }
      await sleep(pause, undefined, { signal: this.over.signal }).catch(() => {});
      pause = Math.min(pause * 2, RECONNECT_MS_MAX);
    }
  }

  /** Takes no more jobs, and waits for those that run. */
  stop(): void {
    if (this.stopping.signal.aborted) return;
    this.stopping.abort();
    if (this.session !== undefined) this.cancelConsumers(this.session);
    setTimeout(() => this.over.abort(), GRACE_MS);
    this.endWhenIdle();
  }

  private endWhenIdle(): void {
    if (this.stopping.signal.aborted && this.running.size === 0) this.over.abort();
  }

  /** Works with a connection until it is lost, or the worker's time is over. */
  private async hold(connection: ChannelModel, works: () => void): Promise<void> {
    connection.on("error", () => {}); // told by `lost` too
    const lost = once(connection, "close", { signal: this.over.signal });
    lost.catch(() => {}); // seen below
    try {
      await this.open(connection);
      works();
      await lost;
    } catch (error) {
      if (!this.over.signal.aborted) throw error;
      await this.handBack();
    } finally {
      this.session = undefined;
      for (const running of this.running.values()) running.delivery = undefined; // comes again
      await connection.close().catch(() => {});
    }
  }

  private async open(connection: ChannelModel): Promise<void> {
    const channel = await connection.createConfirmChannel();
    const session: Session = { connection, channel, consumers: new Map(), returned: new Set() };
    channel.on("error", (error) => {
      console.warn(`the channel broke: ${error.message}`);
      this.drop(session);
    });
    channel.on("return", (message) => session.returned.add(message.properties.messageId));
    await channel.prefetch(1); // counted for each consumer
    await channel.assertExchange(`${PREFIX}.jobs`, "direct", { durable: true });
    const dead = { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": `${PREFIX}.dead` };
    for (const name of TASK_QUEUES) {
      // checkQueue instead where the server was configured to make them of another type
      await channel.assertQueue(`${PREFIX}.jobs.${name}`, { durable: true, arguments: dead });
      await channel.bindQueue(`${PREFIX}.jobs.${name}`, `${PREFIX}.jobs`, name);
    }
    this.session = session;
    this.changes.emit("connected");
    if (this.stopping.signal.aborted) return; // only here to report what still runs
    for (const name of TASK_QUEUES) await this.fill(session, name);
    if (this.stopping.signal.aborted) this.cancelConsumers(session);
    console.log(`serving ${TASK_QUEUES.join(", ")}`);
  }

  /** A consumer for each place that no job holds which the broker does not count any more. */
  private async fill(session: Session, name: string): Promise<void> {
    const { channel, consumers } = session;
    const long = [...this.running.values()].filter((running) => running.livesByHeartbeats && running.taskQueue === name);
    const there = [...consumers.values()].filter((taskQueue) => taskQueue === name);
    const consuming: Promise<unknown>[] = [];
    for (let missing = PLACES - long.length - there.length; missing > 0; missing -= 1) {
      const consumerTag = randomUUID();
      consumers.set(consumerTag, name);
      const take = (message: ConsumeMessage | null) => this.take(session, name, message);
      consuming.push(channel.consume(`${PREFIX}.jobs.${name}`, take, { consumerTag }));
    }
    await Promise.all(consuming);
  }

  private cancelConsumers({ channel, consumers }: Session): void {
    for (const consumer of consumers.keys()) channel.cancel(consumer).catch(() => {});
    consumers.clear();
  }

  private drop(session: Session): void {
    if (this.session === session) this.session = undefined;
    session.connection.close().catch(() => {});
  }

  private take(session: Session, taskQueue: string, message: ConsumeMessage | null): void {
    if (message === null) return this.drop(session); // the queue is gone: it is declared anew
    const { channel } = session;
    let job: Job;
    try {
      job = readJob(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(message.content)));
    } catch (error) {
      console.error(`rejected: ${String(error)}`);
      return channel.reject(message, false);
    }
    if (this.stopping.signal.aborted) return channel.nack(message, false, true);
    const key = `${job.job}/${job.attempt}`;
    const known = this.running.get(key);
    if (known !== undefined) {
      // Another copy of what runs; or, because its connection was lost, the delivery that is to be acknowledged from now on.
      if (known.delivery !== undefined || known.livesByHeartbeats) channel.ack(message);
      else known.delivery = { channel, message };
      return;
    }
    const running: Running = { job, taskQueue, delivery: { channel, message }, livesByHeartbeats: false };
    this.running.set(key, running);
    void this.carryOut(running).finally(() => {
      this.running.delete(key);
      this.endWhenIdle();
      const session = this.session;
      if (session === undefined || this.stopping.signal.aborted) return;
      this.fill(session, taskQueue).catch(() => this.drop(session));
    });
  }

  private async carryOut(running: Running): Promise<void> {
    const { job } = running;
    await this.send(report(job, "STARTED", { worker: WORKER }));
    const ended = new AbortController();
    // A result that comes later than the timeout would be refused.
    const timeout = job.timeout === undefined ? undefined : setTimeout(() => job.cancel.abort(), job.timeout);
    const held = setTimeout(() => void this.leaveToHeartbeats(running), HELD_MS_MAX);
    void this.keepAlive(job, ended.signal);
    const result = await run(job);
    ended.abort();
    clearTimeout(timeout);
    clearTimeout(held);
    if (this.over.signal.aborted) return; // it was handed back
    await this.send(result);
    this.acknowledge(running); // only now: who dies before gets the job again
  }

  private async leaveToHeartbeats(running: Running): Promise<void> {
    running.livesByHeartbeats = true;
    const delivery = running.delivery;
    if (delivery !== undefined) {
      // Its place first: the broker would fill it with another job at once.
      const consumer = delivery.message.fields.consumerTag!;
      this.session?.consumers.delete(consumer);
      await delivery.channel.cancel(consumer).catch(() => {});
      this.acknowledge(running);
    }
    console.log(`job ${running.job.job} lives by its heartbeats`);
  }

  private async keepAlive(job: Job, ended: AbortSignal): Promise<void> {
    while (job.heartbeatInterval !== undefined && !ended.aborted) {
      await sleep(job.heartbeatInterval / 3, undefined, { signal: ended }).catch(() => {});
      if (!ended.aborted) await this.send(report(job, "HEARTBEAT"));
    }
  }

  /** Sends a report until the broker has it. */
  private async send(body: Report): Promise<void> {
    for (;;) {
      while (this.session === undefined) await once(this.changes, "connected");
      const session = this.session;
      try {
        return await publish(session, body);
      } catch {
        this.drop(session);
      }
    }
  }

  private acknowledge(running: Running): void {
    const delivery = running.delivery;
    running.delivery = undefined;
    try {
      delivery?.channel.ack(delivery.message);
    } catch {
      // The channel is closed: it comes again.
    }
  }

  /** What was not acknowledged goes back by itself; of the rest nobody else would hear. */
  private async handBack(): Promise<void> {
    const left = [...this.running.values()];
    for (const { job } of left) job.cancel.abort();
    const stopped = new FlowError("WORKER_STOPPED", "the worker stopped");
    const reports = left.filter((running) => running.livesByHeartbeats).map(({ job }) => this.send(failed(job, stopped)));
    await Promise.race([Promise.all(reports), sleep(LAST_REPORTS_MS_MAX)]);
  }
}

/** Persistent and mandatory; resolves when the broker has confirmed it. */
function publish({ channel, returned }: Session, body: Report): Promise<void> {
  const messageId = randomUUID();
  const options = { persistent: true, mandatory: true, contentType: "application/json", messageId };
  return new Promise((resolve, reject) => {
    channel.sendToQueue(`${PREFIX}.results`, Buffer.from(JSON.stringify(body)), options, (error) => {
      if (error !== null) reject(error);
      else if (returned.delete(messageId)) reject(new Error("no queue takes reports"));
      else resolve();
    });
  });
}

const worker = new Worker();
process.on("SIGTERM", () => worker.stop());
process.on("SIGINT", () => worker.stop());
await worker.serve();
process.exit(0); // flows that did not end in time end here
