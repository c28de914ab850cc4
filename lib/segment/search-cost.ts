/**
 * Exact or graph search for a filtered query, whichever costs less (docs/performance.md, "Filters").
 *
 * Exact search computes one distance for each matching row. Graph search goes on until ef matching rows are among its
 * nearest, so it visits about ef / s nodes, s = matching / slots, and each visit costs about as much as ten distances:
 * those to the node's neighbours that were not met yet. Both grow with dims alike, so that dims do not matter.
 */
const distancesPerVisit = 10;

export function preferExact({
  matching,
  slots,
  ef,
}: {
  matching: number;
  slots: number;
  ef: number;
}): boolean {
  return matching * matching <= distancesPerVisit * ef * slots;
}
