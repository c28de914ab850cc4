/**
 * Readers beside the producers and the kills. An answer may fail while something is down; it may never be wrong. There
 * is one call at a time, so that one sandbox after the other answers and what a process said before is known.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { FunctionCalls } from "./calls.ts";
import type { Ledger, Promised, SeenRecord } from "./ledger.ts";
import { distanceBetween } from "./neighbours.ts";
import type { PutAside } from "./put-aside.ts";
import type { Random } from "./random.ts";
import type { Tally } from "./report.ts";
import type { Writer } from "./writers.ts";

export interface ReaderOptions {
  readonly writers: readonly Writer[];
  /** What a new process is asked for first: answered before its graphs have arrived. */
  readonly cold: Ledger | null;
  readonly metrics: ReadonlyMap<Ledger, "l2" | "cosine">;
  readonly random: Random;
  readonly calls: FunctionCalls;
  readonly tally: Tally;
  readonly putAside: PutAside;
}

interface Answer {
  readonly shards: readonly { readonly shard: number; readonly version: number }[];
  readonly warning?: string;
  readonly cold?: true;
}
type Found = SeenRecord & { readonly distance: number };

const nothingPromised: Promised = new Map();
const pauseMs = 15;
const failurePauseMs = 150;
const distanceTolerance = 1e-4;
/** What is counted of them. */
export const coldAnswers = "cold answers checked";

export class QueryReader {
  readonly #options: ReaderOptions;
  /** Versions that the processes which answer now have shown. */
  #shown = new Map<string, number>();
  #shownSinceMs = 0;
  /** When the last read was asked that was to be a new process's first. */
  #coldMs = 0;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  async run(isOver: () => boolean): Promise<void> {
    const { random } = this.#options;
    while (!isOver()) {
      const { cold, writers, calls } = this.#options;
      // Until one is answered: those that fail say nothing.
      const isCold = cold !== null && calls.killedMs("query") > this.#coldMs;
      const writer = random.pick(writers);
      const ledger = isCold ? cold : writer.ledger;
      const askedMs = performance.now();
      const reads = { strongGet: 5, eventualGet: 2, tokenGet: 4, count: 2, eventualQuery: 3, strongQuery: 2 };
      const read = isCold ? "eventualQuery" : random.weighted(reads);
      const answered = await this.#read(read, ledger, writer);
      if (isCold && answered) this.#coldMs = askedMs;
      if (answered) this.#options.tally.count(`${read} checked`);
      await sleep(answered ? pauseMs : failurePauseMs);
    }
  }

  #read(read: string, ledger: Ledger, writer: Writer): Promise<boolean> {
    switch (read) {
      case "count":
        return this.#count(ledger);
      case "tokenGet":
        return this.#tokenGet(writer);
      case "eventualQuery":
      case "strongQuery":
        return this.#query(ledger, read === "strongQuery");
      default:
        return this.#get(ledger, read === "strongGet");
    }
  }

  /** A strong get sees every write that was acknowledged before it; an eventual one nothing that was never written. */
  async #get(ledger: Ledger, isStrong: boolean): Promise<boolean> {
    const { random } = this.#options;
    const ids = Array.from({ length: random.between(1, 30) }, () => random.pick(ledger.ids));
    const promised = isStrong ? ledger.promised(ids) : nothingPromised;
    const include = ["document", "metadata", ...(random.chance(0.3) ? ["vector"] : [])];
    const event = { op: "get", ids, include, consistency: isStrong ? "strong" : "eventual" };
    return this.#checkGet(ledger, event, ids, promised);
  }

  /** A read with a token sees the write that the token names. */
  async #tokenGet({ ledger, last }: Writer): Promise<boolean> {
    if (last === null) return false;
    const writes = last.writes.slice(0, 50);
    const promised = new Map(writes.map(({ id, number }) => [id, number]));
    const ids = writes.map(({ id }) => id);
    return this.#checkGet(ledger, { op: "get", ids, atLeast: last.token }, ids, promised);
  }

  async #checkGet(
    ledger: Ledger,
    event: object,
    ids: readonly string[],
    promised: Promised,
  ): Promise<boolean> {
    const answer = await this.#ask(ledger, event);
    if (answer === null) return false;
    const { records } = answer as unknown as { records: SeenRecord[] };
    const byId = new Map(records.map((record) => [record.id, record]));
    for (const id of ids) this.#hold(ledger, event, ledger.faultOfGet(id, byId.get(id) ?? null, promised));
    return true;
  }

  async #count(ledger: Ledger): Promise<boolean> {
    const promised = ledger.promised();
    const event = { op: "count", consistency: "strong" };
    const answer = await this.#ask(ledger, event);
    if (answer === null) return false;
    const { count } = answer as unknown as { count: number };
    const { least, most } = ledger.countRange(promised);
    const fault =
      count < least || count > most ? `the count is ${count}; possible are ${least} to ${most}` : null;
    this.#hold(ledger, event, fault);
    return true;
  }

  async #query(ledger: Ledger, isStrong: boolean): Promise<boolean> {
    const { random, metrics } = this.#options;
    const vector = ledger.vector({ id: "query", number: random.between(0, 2 ** 30), op: "upsert" });
    const promised = isStrong ? ledger.promised() : nothingPromised;
    const event = {
      op: "query",
      vector,
      topK: random.pick([1, 10, 50]),
      consistency: isStrong ? "strong" : "eventual",
    };
    const answer = await this.#ask(ledger, event);
    if (answer === null) return false;
    const { results } = answer as unknown as { results: Found[] };
    const metric = metrics.get(ledger)!;
    for (const [i, found] of results.entries()) {
      this.#hold(ledger, event, ledger.faultOfGet(found.id, found, promised));
      const number = Number(found.metadata?.write);
      const exact = distanceBetween(metric, vector, ledger.vector({ id: found.id, number, op: "upsert" }));
      if (Math.abs(exact - found.distance) > distanceTolerance * Math.max(1, exact))
        this.#hold(ledger, event, `${found.id} is ${exact} away, the answer says ${found.distance}`);
      if (i > 0 && found.distance < results[i - 1]!.distance)
        this.#hold(ledger, event, "the results are not in order");
    }
    if (new Set(results.map(({ id }) => id)).size < results.length)
      this.#hold(ledger, event, "an id comes twice");
    return true;
  }

  async #ask(ledger: Ledger, event: object): Promise<Answer | null> {
    const { calls, tally } = this.#options;
    const { collection } = ledger;
    // Only what kills the groups' processes knows when they are new.
    const result = await calls.invoke("query", { ...event, collection });
    if (result.isNewProcess || calls.killedMs("query") > this.#shownSinceMs) {
      this.#shown = new Map();
      this.#shownSinceMs = performance.now();
    }
    if (result.kind === "failed") return null;
    const answer = result.value as Answer;
    tally.count("answers checked");
    if (answer.cold) tally.count(coldAnswers);
    if (answer.warning !== undefined) {
      tally.count("answers from an older view");
      if (/corrupt/.test(answer.warning)) this.#hold(ledger, event, answer.warning);
    }
    for (const { shard, version } of answer.shards) {
      const key = `${collection}/${shard}`;
      const before = this.#shown.get(key) ?? 0;
      if (version < before)
        this.#hold(ledger, event, `shard ${shard} went back from version ${before} to ${version}`);
      this.#shown.set(key, version);
    }
    return answer;
  }

  #hold(ledger: Ledger, event: object, fault: string | null): void {
    if (fault === null) return;
    const {
      op,
      consistency = "eventual",
      atLeast,
    } = event as { op: string; consistency?: string; atLeast?: string };
    const how = atLeast === undefined ? consistency : "atLeast";
    const what = `${how} ${op} of ${ledger.collection}: ${fault}`;
    if (how === "strong") this.#options.putAside.doubt(ledger.collection, what);
    else this.#options.tally.violation(what);
  }
}
