/** Which rows of two segments are dead beside each other: of the ids that both hold. */
import type { DatabaseSync } from "node:sqlite";
import type { Segment } from "../core/format/manifest.ts";
import { compareOrder } from "../core/model/row.ts";
import { arraysOf, orderOf } from "./records-db.ts";

interface Stored {
  readonly segment: Pick<Segment, "rows" | "tombstones">;
  /** The URI of its records.db, for another database to attach. */
  readonly recordsUri: string;
}

/** Labels of the rows that are dead. */
export interface Shadowed {
  readonly mine: Uint32Array;
  readonly theirs: Uint32Array;
}

/**
 * Labels of the rows that are older than the other side's row or tombstone of the same id. Runs inside SQLite, from the smaller
 * segment's ids into the larger one's index; `db` has the records of `own`. The same write in both (a redelivery) is dead in `other`.
 */
export function shadowedRows(db: DatabaseSync, own: Stored, other: Stored): Shadowed {
  const mine: number[] = [];
  const theirs: number[] = [];
  db.prepare("ATTACH DATABASE ? AS other").run(other.recordsUri);
  try {
    const size = ({ segment }: Stored) => segment.rows + segment.tombstones;
    const [small, large] = size(other) <= size(own) ? ["other", "main"] : ["main", "other"];
    const pairs = (a: string, b: string) =>
      arraysOf(
        db,
        `SELECT a.label, a.version, a.delta, a.row, b.label, b.version, b.delta, b.row FROM
             (SELECT ${a === "rows" ? "label" : "NULL AS label"}, id, version, delta, row FROM ${small}.${a}) a CROSS JOIN
             (SELECT ${b === "rows" ? "label" : "NULL AS label"}, id, version, delta, row FROM ${large}.${b}) b ON a.id = b.id`,
      ).iterate() as Iterable<unknown[]>;
    const [inSmall, inLarge] = small === "main" ? [mine, theirs] : [theirs, mine];
    for (const [a, b] of [
      ["rows", "rows"],
      ["rows", "tombstones"],
      ["tombstones", "rows"],
    ] as const) {
      for (const pair of pairs(a, b)) {
        const order = compareOrder(orderOf(pair, 1), orderOf(pair, 5));
        const [labelSmall, labelLarge] = [pair[0] as number | null, pair[4] as number | null];
        const smallDies = order < 0 || (order === 0 && small === "other");
        if (smallDies && labelSmall !== null) inSmall.push(labelSmall);
        if (!smallDies && labelLarge !== null) inLarge.push(labelLarge);
      }
    }
  } finally {
    db.exec("DETACH DATABASE other");
  }
  return { mine: Uint32Array.from(mine), theirs: Uint32Array.from(theirs) };
}
