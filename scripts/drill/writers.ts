/**
 * Parallel producers. Ordered by source, they write ids that all of them share, and repeat old calls now and then, as
 * an at-least-once upstream does. Ordered by arrival, each has ids of its own and repeats a failed call before it goes
 * on. A call whose outcome is unknown is kept, and repeated at the end until it is acknowledged.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ProduceRecord } from "../../lib/clients/producer.ts";
import type { CallResult, FunctionCalls } from "./calls.ts";
import type { Deletion, Ledger, Write } from "./ledger.ts";
import type { LibraryProcess } from "./library-process.ts";
import type { Random } from "./random.ts";
import type { Tally } from "./report.ts";
import type { StackProcess } from "./stack-process.ts";

interface Call {
  readonly writes: readonly Write[];
  readonly event: {
    readonly collection: string;
    readonly records: ProduceRecord[];
    readonly deletes: Deletion[];
  };
}

export interface WriterOptions {
  readonly ledger: Ledger;
  /** Ids that it loads. */
  readonly ids: readonly string[];
  /** Those that it goes on writing. @default all */
  readonly busyIds?: readonly string[];
  readonly random: Random;
  readonly calls: FunctionCalls;
  readonly stack: StackProcess;
  readonly tally: Tally;
  /** Writes through the library in a process of its own instead of the producer function. */
  readonly library: LibraryProcess | null;
}

const bulkShare = 0.04;
/** Numbers in the vectors of one call: below 5 MB of JSON. */
const numbersPerCall = 200_000;
const replayShare = 0.04;
const recentMax = 50;
/** The pace of one writer: the compactor, killed as often as it is, must be able to keep up. */
const pause = { startMs: 100, limitMs: 600 };
const retryWaitMs = 250;
const settleAttemptsMax = 60;

export class Writer {
  readonly #options: WriterOptions;
  readonly #recent: Call[] = [];
  /** Calls that may or may not have happened. */
  readonly #unsettled: Call[] = [];
  /** Token and writes of the last acknowledged call, for readers that want to see it. */
  last: { readonly token: string; readonly writes: readonly Write[] } | null = null;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  get ledger(): Ledger {
    return this.#options.ledger;
  }
  get #rowsPerCallMax(): number {
    return Math.floor(numbersPerCall / this.ledger.dims);
  }

  /** Every id once, in calls of several hundred records: rows enough for graphs. */
  async load(perCall: number): Promise<void> {
    const { ids, ledger } = this.#options;
    const rows = Math.min(perCall, this.#rowsPerCallMax);
    for (let start = 0; start < ids.length; start += rows) {
      const writes = ids.slice(start, start + rows).map((id) => ledger.issue(id, "upsert"));
      await this.#sendSurely(this.#callOf(writes));
    }
  }

  async run(isOver: () => boolean): Promise<void> {
    const { random, ledger } = this.#options;
    while (!isOver()) {
      if (ledger.ordering === "source" && this.#recent.length > 0 && random.chance(replayShare)) {
        await this.#send(random.pick(this.#recent));
        this.#options.tally.count("replayed calls");
      } else await this.#write(this.#nextCall(), isOver);
      await sleep(random.between(pause.startMs, pause.limitMs));
    }
  }

  /** Repeats what is in doubt until it is acknowledged. */
  async settle(): Promise<void> {
    for (const call of this.#unsettled.splice(0)) {
      this.#options.tally.count("calls settled at the end");
      await this.#sendSurely(call);
    }
  }

  async #write(call: Call, isOver: () => boolean): Promise<void> {
    const { random, ledger } = this.#options;
    let acknowledged = await this.#send(call);
    // By arrival, the next call on these ids must come after this one; by source, the versions see to it.
    while (!acknowledged && !isOver() && (ledger.ordering === "arrival" || random.chance(0.5))) {
      await sleep(retryWaitMs);
      acknowledged = await this.#send(call);
    }
    if (!acknowledged) this.#unsettled.push(call);
  }

  async #sendSurely(call: Call): Promise<void> {
    for (let attempt = 0; attempt < settleAttemptsMax; attempt++) {
      if (await this.#send(call)) return;
      await sleep(retryWaitMs);
    }
    this.#options.tally.violation(`a call was refused ${settleAttemptsMax} times with nothing broken`);
  }

  async #send(call: Call): Promise<boolean> {
    const { library, calls, stack, tally, ledger } = this.#options;
    let result: CallResult;
    if (library === null) result = await calls.invoke("producer", call.event);
    else {
      tally.count("library calls");
      const done = await library.run({ kind: "produce", call: call.event }, stack.current);
      if (done.kind === "done") result = { kind: "answered", value: done.result, isNewProcess: false };
      else {
        tally.failed("library", done.errorKind);
        if (["invalid", "notFound", "corrupt", "internal"].includes(done.errorKind))
          tally.violation(`the producer library failed with ${done.errorKind}: ${done.message}`);
        return false;
      }
    }
    if (result.kind === "failed") return false;
    const { token, written, deleted } = result.value as { token: string; written: number; deleted: number };
    if (written !== call.event.records.length || deleted !== call.event.deletes.length)
      tally.violation(`a producer acknowledged ${written} + ${deleted} of ${call.writes.length} writes`);
    ledger.acknowledge(call.writes);
    tally.count("acknowledged calls");
    tally.count("acknowledged writes", call.writes.length);
    this.last = { token, writes: call.writes };
    this.#recent.push(call);
    if (this.#recent.length > recentMax) this.#recent.shift();
    return true;
  }

  #nextCall(): Call {
    const { random, ids, busyIds = ids, ledger } = this.#options;
    const wanted = random.chance(bulkShare) ? random.between(200, 600) : random.between(1, 30);
    const size = Math.min(wanted, this.#rowsPerCallMax);
    const chosen = new Set<string>();
    for (let i = 0; i < size; i++) chosen.add(random.pick(busyIds));
    const deleteShare = random.pick([0, 0, 0, 0.1, 0.2, 1]);
    return this.#callOf(
      [...chosen].map((id) => ledger.issue(id, random.chance(deleteShare) ? "delete" : "upsert")),
    );
  }

  #callOf(writes: readonly Write[]): Call {
    const { ledger } = this.#options;
    const upserts = writes.filter(({ op }) => op === "upsert");
    const deletes = writes.filter(({ op }) => op === "delete");
    const event = {
      collection: ledger.collection,
      records: upserts.map((write) => ledger.record(write)),
      deletes: deletes.map((write) => ledger.deletion(write)),
    };
    return { writes, event };
  }
}
