/**
 * Exact or graph search for a filtered query, whichever costs less (docs/performance.md, "Filters").
 *
 * Exact search computes one distance for each matching row. Graph search goes on until ef matching rows are among its
 * nearest, so it visits about ef / s nodes, s = matching / slots, and each visit costs about as much as fourteen
 * distances: those to the node's neighbours that were not met yet, out of reach of the processor's prefetching. Where
 * the matches lie far from the query, as real filters' often do, it visits several times as many. Exact search always
 * costs the same and finds everything, so it gets the benefit of the doubt. Both grow with dims alike.
 */
const distancesPerVisit = 20;

/**
 * A filtered search goes on until ef matching rows are found, so it looks at more of the graph than an unfiltered one of
 * the same ef, and misses less: half of the ef is enough (docs/performance.md has the recall).
 */
export const filteredEf = (efSearch: number, wanted: number): number =>
  Math.max(Math.ceil(efSearch / 2), wanted * 2);

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
