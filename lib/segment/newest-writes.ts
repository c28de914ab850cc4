/**
 * Which rows of many segments are dead, because another one of them holds a later write of their id. Flat segments are folded, one
 * after the other, into a table of the newest writes; that is compared with each graph. So the work is that of the segments'
 * number and of the flats' rows, not that of their pairs.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { compareOrder } from "../core/model/row.ts";
import type { OpenSegment } from "./open-segment.ts";
import { arraysOf, damageOf, orderOf } from "./records-db.ts";

/** Pages of the table in memory; what is beyond them lies in a temporary file. */
const cacheKiB = 32 * 1024;

export class NewestWrites {
  /** A database of its own: private, and gone with its end. */
  readonly #db = new DatabaseSync("");
  readonly #flats: OpenSegment[] = [];
  readonly #dead: Map<OpenSegment, number[]>;

  /** Adds the labels that die to `dead`. */
  constructor(dead: Map<OpenSegment, number[]>) {
    this.#dead = dead;
    this.#db.exec(`PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -${cacheKiB}`);
    this.#db.exec(
      `CREATE TABLE newest(id TEXT PRIMARY KEY, flat INTEGER NOT NULL, label INTEGER, version INTEGER NOT NULL,
         delta TEXT NOT NULL, row INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
    );
  }

  /** The same write in two segments dies in the one that comes later: they are given in the order of their ids. */
  fold(segment: OpenSegment): void {
    const flat = this.#flats.push(segment) - 1;
    this.#beside(segment, (table) => {
      this.#compare(segment, table, { isTieTheirs: true });
      this.#db.exec(
        `INSERT INTO newest SELECT id, ${flat}, ${labelIn(table)}, version, delta, row FROM other.${table} s WHERE true
         ON CONFLICT(id) DO UPDATE SET flat = excluded.flat, label = excluded.label, version = excluded.version,
           delta = excluded.delta, row = excluded.row
         WHERE (excluded.version, excluded.delta, excluded.row) > (newest.version, newest.delta, newest.row)`,
      );
    });
  }

  /** Compares what was folded with a segment that is not. */
  compare(segment: OpenSegment): void {
    this.#beside(segment, (table) => this.#compare(segment, table, { isTieTheirs: false }));
  }

  close(): void {
    this.#db.close();
  }

  #beside(segment: OpenSegment, work: (table: "rows" | "tombstones") => void): void {
    this.#db.prepare("ATTACH DATABASE ? AS other").run(segment.recordsUri);
    try {
      work("rows");
      work("tombstones");
    } catch (error) {
      throw damageOf(join(segment.folder, "records.db"), error);
    } finally {
      this.#db.exec("DETACH DATABASE other");
    }
  }

  #compare(segment: OpenSegment, table: string, { isTieTheirs }: { readonly isTieTheirs: boolean }): void {
    const isSmall = segment.segment.kind === "flat";
    const [outer, inner] = isSmall ? [`other.${table} s`, "newest n"] : ["newest n", `other.${table} s`];
    const pairs = arraysOf(
      this.#db,
      `SELECT n.flat, n.label, n.version, n.delta, n.row, ${labelIn(table)}, s.version, s.delta, s.row
       FROM ${outer} CROSS JOIN ${inner} ON n.id = s.id`,
    ).iterate() as Iterable<unknown[]>;
    for (const pair of pairs) {
      const flat = this.#flats[pair[0] as number]!;
      const order = compareOrder(orderOf(pair, 2), orderOf(pair, 6));
      const theirsDies = order > 0 || (order === 0 && (isTieTheirs || flat.segment.id < segment.segment.id));
      const [dies, label] = theirsDies ? [segment, pair[5]] : [flat, pair[1]];
      if (label !== null) this.#die(dies, label as number);
    }
  }

  #die(segment: OpenSegment, label: number): void {
    const labels = this.#dead.get(segment);
    if (labels === undefined) this.#dead.set(segment, [label]);
    else labels.push(label);
  }
}

const labelIn = (table: string): string => (table === "rows" ? "s.label" : "NULL");
