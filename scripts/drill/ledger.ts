/**
 * The model: every write that was issued, acknowledged or not, and what a read may therefore answer.
 *
 * Writes of one id are ordered by their number. Where the collection is ordered by source, the number is the record's
 * version, so the order holds for every writer and every time of arrival. Where it is ordered by arrival, each id has one
 * writer that never has two calls under way, so the numbers are in the order of the calls.
 *
 * A write whose call failed may or may not have happened, now or (never later than its process lived) since. So a read
 * that promises all acknowledged writes answers the greatest acknowledged write of the id, or any greater one that was
 * issued; an eventual read answers any write that was ever issued, or nothing.
 */
import type { ProduceRecord } from "../../lib/clients/producer.ts";
import { vectorOf } from "./random.ts";

export interface Write {
  readonly number: number;
  readonly id: string;
  readonly op: "upsert" | "delete";
}

/** A record as the query function answers it. */
export interface SeenRecord {
  readonly id: string;
  readonly version: number;
  readonly document?: string | null;
  readonly metadata?: Readonly<Record<string, unknown>> | null;
  readonly vector?: readonly number[];
}

interface History {
  /** Ascending by number. */
  readonly writes: Write[];
  /** Greatest acknowledged number; 0 when there is none. */
  acknowledged: number;
}

export type Deletion = string | { readonly id: string; readonly version: number };

/** What an answer is held against: the greatest acknowledged number of each id when the read began. */
export type Promised = ReadonlyMap<string, number>;

export class Ledger {
  readonly collection: string;
  readonly ordering: "source" | "arrival";
  readonly dims: number;
  readonly #histories = new Map<string, History>();
  #last = 0;
  acknowledgedWrites = 0;

  constructor(options: { collection: string; ordering: "source" | "arrival"; dims: number }) {
    this.collection = options.collection;
    this.ordering = options.ordering;
    this.dims = options.dims;
  }

  get ids(): string[] {
    return [...this.#histories.keys()];
  }

  issue(id: string, op: Write["op"]): Write {
    this.#last += 1;
    const write = { number: this.#last, id, op };
    const history = this.#histories.get(id) ?? { writes: [], acknowledged: 0 };
    history.writes.push(write);
    this.#histories.set(id, history);
    return write;
  }

  acknowledge(writes: readonly Write[]): void {
    for (const { id, number } of writes) {
      const history = this.#histories.get(id)!;
      history.acknowledged = Math.max(history.acknowledged, number);
    }
    this.acknowledgedWrites += writes.length;
  }

  /** What a read that promises every acknowledged write must show; it is called before the read is sent. */
  promised(ids: readonly string[] = this.ids): Promised {
    return new Map(ids.map((id) => [id, this.#histories.get(id)?.acknowledged ?? 0]));
  }

  /** Why this answer to a get cannot be right, or null. `promised` is empty for an eventual read. */
  faultOfGet(id: string, record: SeenRecord | null, promised: Promised): string | null {
    const least = promised.get(id) ?? 0;
    const possible = this.#possible(id, least);
    if (record === null) {
      if (least === 0 || possible.some(({ op }) => op === "delete")) return null;
      return `${id} is missing; write ${least} of it was acknowledged, and no later one deletes it`;
    }
    const number = numberIn(record);
    const write = possible.find((one) => one.number === number && one.op === "upsert");
    if (write === undefined) {
      const allowed = possible.slice(0, 5).map((one) => `${one.op} ${one.number}`);
      return `${id} holds write ${number}; possible are ${allowed.join(", ") || "none"}`;
    }
    return this.#faultOfContent(record, write);
  }

  /** Least and most records that a count may give when the read began with `promised` and has ended now. */
  countRange(promised: Promised): { least: number; most: number } {
    let least = 0;
    let most = 0;
    for (const id of this.#histories.keys()) {
      const acknowledged = promised.get(id) ?? 0;
      const possible = this.#possible(id, acknowledged);
      if (possible.some(({ op }) => op === "upsert")) most += 1;
      if (acknowledged > 0 && possible.every(({ op }) => op === "upsert")) least += 1;
    }
    return { least, most };
  }

  /** The records that must be there when every call is acknowledged. */
  final(): Map<string, Write> {
    const live = new Map<string, Write>();
    for (const [id, { writes, acknowledged }] of this.#histories) {
      const last = writes[writes.length - 1]!;
      if (last.number !== acknowledged) throw new Error(`write ${last.number} of ${id} is not settled`);
      if (last.op === "upsert") live.set(id, last);
    }
    return live;
  }

  vector(write: Write): number[] {
    return vectorOf(nameOf(write), this.dims);
  }

  /** A record of a producer's call. */
  record(write: Write): ProduceRecord {
    const version = this.ordering === "source" ? { version: write.number } : {};
    const metadata = { write: write.number, parity: write.number % 2 === 0 ? "even" : "odd" };
    return { id: write.id, vector: this.vector(write), document: nameOf(write), metadata, ...version };
  }

  /** A delete of a producer's call. */
  deletion({ id, number }: Write): Deletion {
    return this.ordering === "source" ? { id, version: number } : id;
  }

  /** Writes that may be an id's newest for a reader that was promised the write `least`. */
  #possible(id: string, least: number): Write[] {
    const writes = this.#histories.get(id)?.writes ?? [];
    let start = writes.length;
    while (start > 0 && writes[start - 1]!.number >= least) start -= 1;
    return writes.slice(start);
  }

  #faultOfContent(record: SeenRecord, write: Write): string | null {
    const { id, number } = write;
    if (record.document !== undefined && record.document !== nameOf(write))
      return `${id} at write ${number} has the document ${JSON.stringify(record.document)}`;
    if (this.ordering === "source" && record.version !== number)
      return `${id} at write ${number} has version ${record.version}`;
    const { vector } = record;
    if (vector === undefined) return null;
    const expected = this.vector(write);
    return expected.every((value, i) => value === vector[i]) && vector.length === expected.length
      ? null
      : `${id} at write ${number} has another vector than was written`;
  }
}

const nameOf = ({ id, number }: Write): string => `${id}@${number}`;

function numberIn(record: SeenRecord): number {
  const written = record.metadata?.write;
  return typeof written === "number" ? written : Number.NaN;
}
