/**
 * How a filtered query is searched (docs/performance.md, "Filters"): the graph is asked for its nearest rows whatever the
 * filter says of them, as many as are likely to hold enough matches; when they do not, for four times as many; and as
 * soon as that would cost more than one distance for each matching row, exact search answers.
 *
 * So a query costs at most a small multiple of the cheaper way, wherever its matches lie. hnswlib's own filtered search
 * goes on until ef matches are found: where they lie far from the query, as real filters' often do, it visits most of
 * the graph first. A visit costs about as much as fourteen distances of an exact search: those to the node's neighbours
 * that were not met yet, out of reach of the processor's prefetching. Both grow with dims alike.
 */
const distancesPerVisit = 14;
const widening = 4;

/** The ef values to search by, ascending; none when exact search is the cheaper way from the start. */
export function* efsBeforeExact(search: {
  readonly wanted: number;
  readonly matching: number;
  readonly slots: number;
  readonly efSearch: number;
}): Generator<number> {
  const { wanted, matching, slots, efSearch } = search;
  // Twice as many as would do were the matches spread evenly.
  const first = Math.max(efSearch, Math.ceil((2 * wanted * slots) / matching));
  for (let ef = first; ef * distancesPerVisit <= matching; ef *= widening) yield ef;
}
