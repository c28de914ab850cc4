/** Folds any rows, in any order, with any duplicates, into the last write of each id. */
import { compareOrder, type Row } from "./row.ts";

export interface Folded {
  /** The last write of each id, tombstones included, in the order in which their ids first came. */
  readonly kept: Row[];
  /** Everything else: older writes, and further copies of the same write. */
  readonly superseded: Row[];
}

export function fold(rows: Iterable<Row>): Folded {
  const last = new Map<string, Row>();
  const superseded: Row[] = [];
  for (const row of rows) {
    const known = last.get(row.id);
    if (known === undefined) {
      last.set(row.id, row);
    } else if (compareOrder(row, known) > 0) {
      last.set(row.id, row);
      superseded.push(known);
    } else {
      superseded.push(row);
    }
  }
  return { kept: [...last.values()], superseded };
}
