/** A deployment in memory: the functions' calls are checked as theirs are, and answered by the same engine. */
import { PassThrough } from "node:stream";
import { parseCollection } from "../../lambdas/collections/event.ts";
import { checkCompactorEvent, compactorEvent } from "../../lambdas/compactor/event.ts";
import { migrate } from "../../lambdas/compactor/migration.ts";
import { producerEvent } from "../../lambdas/producer/event.ts";
import { parseQueryEvent } from "../../lambdas/query/event.ts";
import { bodyBytesMax } from "../../lib/aws/lambda-handler.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import type { FunctionName } from "../../lib/contract/functions.ts";
import { invalid, unreachable } from "../../lib/core/model/errors.ts";
import { optimizeLimits } from "../../lib/core/policy/merge-plan.ts";
import { embedQuery } from "../../lib/embedding/collection-embedder.ts";
import type { EmbeddingWorld } from "../../lib/embedding/profile-embedders.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { failureOf, noteRun, summarizeRun } from "../../lib/engine/compact/run-summary.ts";
import type { CopyAcross } from "../../lib/engine/operate/promote-files.ts";
import type { ObjectStore } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { ThroughAlias } from "../../lib/engine/read/through-alias.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { saveItems } from "../../lib/jobs/save.ts";
import { sweep } from "../../lib/jobs/sweep.ts";
import type { Deployment, JobsDeployment } from "../../scripts/cli/deployment.ts";
import { runCommandLine } from "../../scripts/cli/program.ts";
import { MemoryBucketFiles } from "../support/memory/bucket-files.ts";
import { MemoryDeletedObjects } from "../support/memory/deleted-objects.ts";
import { MemoryHeldMessages } from "../support/memory/held-messages.ts";
import { MemoryJobTable, MemoryWakeQueues } from "../support/memory/job-table.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** stdout as JSON; throws when it is none. */
  json<T = Record<string, unknown>>(): T;
}

const copyBetween =
  (from: ObjectStore, to: ObjectStore): CopyAcross =>
  async (key, copy) => {
    const found = await from.get(key, { bytesMax: Number.MAX_SAFE_INTEGER });
    if (found.kind !== "found") return null;
    await to.put(copy, found.body, { ifAbsent: true });
    return { bytes: found.body.length };
  };

/** Its bucket, where the command line names no other store. */
const storeBucket = "local";

const collector = (write: (text: string) => void) => ({ write });

export class MemoryCli {
  readonly world: MemoryWorld;
  readonly deleted: MemoryDeletedObjects;
  readonly deadLetters: MemoryHeldMessages;
  readonly failedEvents: MemoryHeldMessages;
  readonly bucketFiles = new MemoryBucketFiles(async (bucket, key, body) => {
    if (bucket === storeBucket) await this.world.store.put(key, body);
  });
  /** Its providers of embeddings. */
  embedding: EmbeddingWorld | null = null;
  /** What other stores' names stand for. */
  readonly others = new Map<string, MemoryCli>();
  /** Whether its object store copies from others' by itself. */
  copiesInStore = true;
  readonly jobs: JobsDeployment & { readonly table: MemoryJobTable; readonly wake: MemoryWakeQueues };
  readonly #reader: Reader;

  constructor(world = memoryWorld()) {
    this.world = world;
    this.deleted = new MemoryDeletedObjects(world.store);
    this.deadLetters = new MemoryHeldMessages(world, world.queue.deadLetters);
    this.failedEvents = new MemoryHeldMessages(world, []);
    this.jobs = {
      ...{ table: new MemoryJobTable(world.clock), wake: new MemoryWakeQueues() },
      embedder: null,
      ...{ store: world.store, clock: world.clock, deadLetters: new MemoryHeldMessages(world, []) },
    };
    this.#reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  }

  /** One call of the command line. */
  async run(
    args: readonly string[],
    options: { stdin?: string | Buffer; interrupted?: AbortSignal } = {},
  ): Promise<Said> {
    let out = "";
    let err = "";
    const stdin = new PassThrough();
    stdin.end(options.stdin ?? "");
    const code = await runCommandLine(args, {
      connect: async ({ name }) => (this.others.get(name) ?? this).deployment(name),
      stdin,
      stdout: collector((text) => {
        out += text;
      }),
      stderr: collector((text) => {
        err += text;
      }),
      interrupted: options.interrupted ?? new AbortController().signal,
    });
    return { code, out, err, json: <T>() => JSON.parse(out) as T };
  }

  deployment(stage: string): Deployment {
    return {
      stage,
      world: this.world,
      deleted: this.deleted,
      deadLetters: this.deadLetters,
      jobs: () => this.jobs,
      failedEvents: () => this.failedEvents,
      configurations: async (name) => [{ name, state: "Active", variables: {}, logGroup: "" }],
      alarms: async () => null,
      logs: { tail: () => ({ next: async () => [] }) },
      embedding: async () => this.embedding ?? Promise.reject(new Error("there are no providers")),
      bucketFiles: this.bucketFiles,
      place: { bucket: stage, endpoint: null },
      copyFrom: this.copiesInStore ? (other) => copyBetween(other.world.store, this.world.store) : () => null,
      call: (role, event) => this.call(role, event),
    };
  }

  close(): Promise<void> {
    return this.#reader.close();
  }

  async call(role: FunctionName, event: object): Promise<unknown> {
    // What a function is sent and answers goes through JSON.
    const payload = JSON.stringify(event);
    if (Buffer.byteLength(payload) > bodyBytesMax) throw invalid("a Lambda takes less at a time");
    const sent = JSON.parse(payload) as object;
    const answer = role === "query" ? await this.#query(sent) : await this.#write(role, sent);
    return JSON.parse(JSON.stringify(answer)) as unknown;
  }

  async #write(role: Exclude<FunctionName, "query">, event: object): Promise<object> {
    if (role === "collections") return createCollection(this.world, parseCollection(event));
    if (role === "embedder") return sweep(this.jobs, { all: true });
    if (role === "producer") {
      const { items, priority, ...rest } = parseEvent(producerEvent, event);
      return items === undefined
        ? produce(this.world, rest)
        : saveItems(this.jobs, { ...rest, items, priority });
    }
    const call = parseEvent(compactorEvent, event);
    checkCompactorEvent(call);
    const startMs = this.world.clock.nowMs();
    const deadlineMs = startMs + 600_000;
    const migration =
      call.source === "migration"
        ? await migrate(this.world, call.snapshot_path!, { startMs, deadlineMs })
        : null;
    const collection = migration?.collection ?? call.collection;
    const report = await compact(this.world, {
      ...(collection === undefined ? {} : { collection }),
      ...(call.shard === undefined ? {} : { shard: call.shard }),
      ingest: call.source !== "upkeep" && call.source !== "optimize",
      ...(call.source === "optimize" ? { mergeLimits: optimizeLimits } : {}),
      upkeep: call.source !== "scheduled" && call.source !== "migration",
      deadlineMs,
    });
    const summary = summarizeRun(report, { source: call.source, startMs, endMs: this.world.clock.nowMs() });
    await noteRun(this.world.leases, summary);
    const failure = failureOf(summary);
    if (failure !== null) throw failure;
    return migration === null ? summary : { ...summary, migration };
  }

  async #query(event: object): Promise<object> {
    const reads = new ThroughAlias(this.#reader, this.world);
    const remainingMs = 10_000;
    const { op, call } = parseQueryEvent(event);
    switch (op) {
      case "query":
        return reads.query(embedQuery(call), remainingMs);
      case "get":
        return reads.get(call, remainingMs);
      case "count":
        return reads.count(call, remainingMs);
      case "stats":
        return reads.stats(call, remainingMs);
      case "health":
        return reads.health(call, remainingMs);
      case "ping":
        return {};
      default:
        return unreachable(op);
    }
  }
}
