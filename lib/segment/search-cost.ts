/**
 * Exact or graph search for a filtered query: chosen by the measured cost of each (docs/performance.md).
 *
 * Graph search with a filter callback visits about ef / selectivity nodes, each with a call into JavaScript; exact
 * search reads every matching row. With s = matching / slots:
 *   graph ≈ graphNanosPerVisit × ef / s          exact ≈ exactNanosPerRow × s × slots
 */
const graphNanosPerVisit = 6_000;
const exactNanosPerRow = 800;
/** Below this many rows exact search is always the cheaper one. */
const alwaysExactRows = 2_000;

export function preferExact({
  matching,
  slots,
  ef,
}: {
  matching: number;
  slots: number;
  ef: number;
}): boolean {
  if (matching <= alwaysExactRows) return true;
  return matching * exactNanosPerRow <= (graphNanosPerVisit * ef * slots) / matching;
}
