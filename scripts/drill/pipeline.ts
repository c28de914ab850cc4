/** The main drill: producers, readers and kills side by side for the given time, then the check at rest. */
import { setTimeout as sleep } from "node:timers/promises";
import { shardName } from "../../lib/core/format/keys.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import type { CollectReport } from "../../lib/engine/compact/collect-garbage.ts";
import type { RunSummary } from "../../lib/engine/compact/run-summary.ts";
import type { World } from "../../lib/engine/ports.ts";
import { ingestLease } from "../../lib/engine/shard/lease.ts";
import { FunctionCalls } from "./calls.ts";
import { Faults, worldOf } from "./faults.ts";
import { Ledger } from "./ledger.ts";
import type { LibraryAnswer } from "./library-main.ts";
import { LibraryProcess } from "./library-process.ts";
import type { DrillMetric } from "./neighbours.ts";
import { PutAside } from "./put-aside.ts";
import { Random } from "./random.ts";
import { coldAnswers, QueryReader } from "./readers.ts";
import { type KillKind, killKinds, type Tally } from "./report.ts";
import { checkContents, collectAll, compactAll, type SettleOptions, verifyAll } from "./settle.ts";
import { StackProcess } from "./stack-process.ts";
import { Writer, type WriterOptions } from "./writers.ts";

export interface PipelineOptions {
  /** Gets the stack's state. */
  readonly folder: string;
  readonly seed: number;
  /** Kills at random for so long; null: one of each kind, and no more. */
  readonly durationMs: number | null;
  /** Query groups; 0: one query function reads all shards. */
  readonly groups: number;
  /** Whether there is a collection that is large enough to be read before its graphs have arrived. */
  readonly isCold: boolean;
  readonly tally: Tally;
  readonly say: (text: string) => void;
}

const scheduleEveryMs = 1_000;
const dims = 16;
const loadPerCall = 500;
/**
 * Numbers enough that its graph has clusters (lib/core/policy/merge-plan.ts), so that a cold process answers from them. The ids
 * that are written again are so few that merges never give them a graph of their own, which would have none.
 */
const cold = { dims: 1_024, ids: 18_000, busyIds: 400 };
const loadLeaseMs = 20 * 60_000;
const pauseLong = { startMs: 1_000, limitMs: 6_000 };
const pauseShortMs = 400;
const reportEveryMs = 30_000;
const putBackEveryMs = 5_000;

interface Scale {
  readonly sourceIds: number;
  readonly arrivalIds: number;
  readonly collectEveryMs: number;
  readonly retention: {
    readonly versionsKept: number;
    readonly keptMs: number;
    readonly keptMsMax: number;
    readonly orphanMs: number;
  };
}
/** Enough rows that merges build graphs (lib/core/policy/merge-plan.ts). A kept version outlives any reader's view of it. */
const long: Scale = {
  sourceIds: 12_000,
  arrivalIds: 1_200,
  collectEveryMs: 5_000,
  retention: { versionsKept: 3, keptMs: 30_000, keptMsMax: 1e15, orphanMs: 60_000 },
};
const short: Scale = {
  sourceIds: 1_200,
  arrivalIds: 900,
  collectEveryMs: 1_500,
  retention: { versionsKept: 2, keptMs: 15_000, keptMsMax: 1e15, orphanMs: 60_000 },
};

export async function pipelineDrill(options: PipelineOptions): Promise<{ rows: Record<string, number> }> {
  const stack = await StackProcess.prepare(options.folder, { scheduleEveryMs, groups: options.groups });
  const drill = new PipelineDrill(options, stack);
  try {
    await stack.start();
    await drill.load();
    await drill.workUnderFaults();
    return await drill.checkAtRest();
  } finally {
    drill.end();
    await stack.stop();
  }
}

class PipelineDrill {
  readonly #options: PipelineOptions;
  readonly #scale: Scale;
  readonly #stack: StackProcess;
  readonly #calls: FunctionCalls;
  readonly #libraries = [new LibraryProcess(), new LibraryProcess()];
  readonly #collector = new LibraryProcess();
  readonly #metrics: Map<Ledger, DrillMetric>;
  readonly #shards: { collection: string; shard: number }[] = [];
  readonly #writers: Writer[];
  readonly #random: Random;
  readonly #faults: Faults;
  readonly #putAside: PutAside;
  #cold: Ledger | null = null;

  constructor(options: PipelineOptions, stack: StackProcess) {
    const { tally, seed } = options;
    this.#options = options;
    this.#stack = stack;
    this.#scale = options.durationMs === null ? short : long;
    this.#random = new Random(seed);
    this.#calls = new FunctionCalls(stack, tally);
    const source = new Ledger({ collection: "drill-source", ordering: "source", dims });
    const arrival = new Ledger({ collection: "drill-arrival", ordering: "arrival", dims });
    this.#metrics = new Map<Ledger, DrillMetric>([
      [source, "l2"],
      [arrival, "cosine"],
    ]);
    this.#writers = this.#makeWriters(source, arrival);
    if (options.isCold) this.#addCold();
    this.#putAside = new PutAside(this.#shards, tally);
    this.#faults = new Faults({
      stack,
      calls: this.#calls,
      libraries: this.#libraries,
      collector: this.#collector,
      random: this.#random.fork(),
      tally,
      say: options.durationMs === null ? options.say : () => {},
      shards: this.#shards,
    });
  }

  #makeWriters(source: Ledger, arrival: Ledger): Writer[] {
    const { tally } = this.#options;
    const { sourceIds, arrivalIds } = this.#scale;
    const ids = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
    const shared = ids("s", sourceIds);
    const writer = (own: Pick<WriterOptions, "ledger" | "ids" | "library">) =>
      new Writer({ ...own, random: this.#random.fork(), calls: this.#calls, stack: this.#stack, tally });
    const [first, second] = this.#libraries;
    return [
      ...[null, null, null, first!].map((library) => writer({ ledger: source, ids: shared, library })),
      ...[null, null, second!].map((library, i) =>
        writer({ ledger: arrival, ids: ids(`a${i}`, arrivalIds), library }),
      ),
    ];
  }

  #addCold(): void {
    const { tally } = this.#options;
    const ledger = new Ledger({ collection: "drill-cold", ordering: "arrival", dims: cold.dims });
    this.#cold = ledger;
    this.#metrics.set(ledger, "cosine");
    const ids = Array.from({ length: cold.ids }, (_, i) => `c-${i}`);
    const shared = { random: this.#random.fork(), calls: this.#calls, stack: this.#stack, tally };
    const busyIds = ids.slice(0, cold.busyIds);
    this.#writers.push(new Writer({ ...shared, ledger, ids, busyIds, library: null }));
  }

  async load(): Promise<void> {
    const world = worldOf(this.#stack);
    for (const [{ collection: name, ordering, dims }, metric] of this.#metrics) {
      const shards = ordering === "source" ? 3 : 1;
      await createCollection(world, { name, dims, metric, ordering, shards, fields: { parity: "string" } });
      for (let shard = 0; shard < shards; shard++) this.#shards.push({ collection: name, shard });
    }
    const [source, ...others] = this.#writers;
    const arrival = others.filter(({ ledger }) => ledger.ordering === "arrival");
    const ingested = this.#cold === null ? null : await this.#holdIngest(world, this.#cold);
    await Promise.all([source!, ...arrival].map((writer) => writer.load(loadPerCall)));
    // What is to be read cold is ingested at once, into one graph, before anything is killed.
    await ingested?.();
    if (this.#cold !== null) await compactAll(this.#settling());
    this.#options.say(
      `loaded ${[...this.#metrics.keys()].reduce((sum, { ids }) => sum + ids.length, 0)} rows`,
    );
  }

  /** Nothing of the collection is ingested until the answer is called. */
  async #holdIngest(world: World, { collection }: Ledger): Promise<() => Promise<void>> {
    const request = { owner: "drill", leaseMs: loadLeaseMs, nowMs: world.clock.nowMs() };
    const taken = await world.leases.acquire(ingestLease(shardName({ collection, shard: 0 })), request);
    if (taken.kind === "held") throw new Error(`the ingest of ${collection} is held by ${taken.by.owner}`);
    return () => world.leases.release(taken.lease);
  }

  /** Writers, a reader and a collector at work, and kills, until the time is up. */
  async workUnderFaults(): Promise<void> {
    const { durationMs, say, tally } = this.#options;
    const startedMs = performance.now();
    let isOver = false;
    const over = () => isOver;
    const reader = new QueryReader({
      writers: this.#writers,
      cold: this.#cold,
      metrics: this.#metrics,
      random: this.#random.fork(),
      calls: this.#calls,
      tally,
      putAside: this.#putAside,
    });
    const work = [
      ...this.#writers.map((writer) => writer.run(over)),
      reader.run(over),
      this.#collect(over),
      this.#askCompactor(over),
      this.#putBack(over),
    ];
    // One that fails ends the kills; its error is thrown when all have ended.
    const working = Promise.all(work);
    working.catch(() => {
      isOver = true;
    });
    const ticker = setInterval(() => {
      const kills = Object.values(tally.kills).reduce((sum, count) => sum + count, 0);
      const minutes = ((performance.now() - startedMs) / 60_000).toFixed(1);
      const { "acknowledged writes": writes = 0, "answers checked": answers = 0 } = tally.counts;
      say(
        `${minutes} min: ${kills} kills, ${writes} writes, ${answers} answers, ${tally.violationCount} violations`,
      );
    }, reportEveryMs);
    try {
      if (durationMs === null) await this.#oneOfEach(over);
      else await this.#faults.run(() => isOver || performance.now() - startedMs >= durationMs, pauseLong);
    } finally {
      isOver = true;
      clearInterval(ticker);
      await Promise.allSettled(work);
      await working;
    }
    const { [coldAnswers]: cold = 0 } = tally.counts;
    if (this.#cold !== null && cold === 0)
      tally.violation("no answer was cold: this run says nothing about cold readers");
  }

  async #oneOfEach(isOver: () => boolean): Promise<void> {
    const order: KillKind[] = [];
    const left = [...killKinds];
    while (left.length > 0) order.push(...left.splice(this.#random.between(0, left.length), 1));
    for (const kind of order) {
      await sleep(pauseShortMs);
      if (isOver()) return;
      await this.#faults.kill(kind);
    }
  }

  /** Garbage is collected beside everything else. */
  async #collect(isOver: () => boolean): Promise<void> {
    const { tally } = this.#options;
    const { retention, collectEveryMs } = this.#scale;
    while (!isOver()) {
      const { collection } = this.#random.pick(this.#shards);
      const answer: LibraryAnswer = await this.#collector.run(
        { kind: "collect", collection, retention },
        this.#stack.current,
      );
      if (answer.kind === "done") {
        for (const report of answer.result as readonly CollectReport[])
          if (report.outcome === "done") tally.count("objects collected", report.keys.length);
      } else {
        tally.failed("collector", answer.errorKind);
        if (["invalid", "notFound", "corrupt", "internal"].includes(answer.errorKind))
          tally.violation(`the collector failed with ${answer.errorKind}: ${answer.message}`);
      }
      await sleep(collectEveryMs);
    }
  }

  /** Runs by hand beside the schedule's: two compactors at once are ordinary. */
  async #askCompactor(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(this.#random.between(1_000, 4_000));
      if (isOver()) return;
      const result = await this.#calls.invoke("compactor", { source: "manual" });
      if (result.kind === "failed") continue;
      for (const { merges } of (result.value as RunSummary).shards)
        this.#options.tally.count("merges by hand", merges);
    }
  }

  async #putBack(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(putBackEveryMs);
      await this.#putAside.putBack(worldOf(this.#stack));
    }
  }

  async checkAtRest(): Promise<{ rows: Record<string, number> }> {
    const { say } = this.#options;
    say("the faults are off: settling calls in doubt, compacting the backlog");
    for (const writer of this.#writers) await writer.settle();
    const options = this.#settling();
    await compactAll(options);
    if ((await this.#putAside.putBack(options.world)) > 0) await compactAll(options);
    this.#putAside.judge();
    const rows: Record<string, number> = {};
    say("checking every record, the counts, recall, and every byte on S3");
    for (const [ledger, metric] of this.#metrics) {
      await checkContents(options, ledger, metric);
      await verifyAll(options, ledger.collection);
      await collectAll(options, ledger.collection);
      rows[ledger.collection] = await checkContents(options, ledger, metric);
    }
    return { rows };
  }

  #settling(): SettleOptions {
    return {
      world: worldOf(this.#stack),
      calls: this.#calls,
      tally: this.#options.tally,
      releaseLeases: () => this.#faults.releaseLeases(),
    };
  }

  end(): void {
    for (const library of [...this.#libraries, this.#collector]) library.end();
    this.#calls.end();
  }
}
