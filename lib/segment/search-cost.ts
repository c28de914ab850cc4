/**
 * What a search of a graph may cost (docs/lab/performance.md, "What a search finds"). A graph is asked as long as that is cheaper
 * than exact search, which costs one distance for each row that may be answered. A visit costs about as much as fourteen
 * distances of an exact search: those to the node's neighbours that were not met yet, out of reach of the processor's
 * prefetching. Both grow with dims alike.
 */
const distancesPerVisit = 14;

/** Nodes that may be visited before exact search of so many rows is the cheaper way. */
export const visitsMax = (rows: number): number => Math.floor(rows / distancesPerVisit);

/**
 * How many of the nearest nodes a search for `wanted` rows looks for. With as many as are wanted, the last of a hundred or a
 * thousand are found with a recall of 0.974 to 0.999 (six sets of vectors), with twice as many of 0.994 to 1.
 *
 * Ids are spread over shards by hash, so each has its share of what is near: of ten, with sixteen shards, mostly one or none. It
 * is found with the square root less of them, but for four times as many as are wanted (docs/lab/performance.md, "Many shards").
 */
export function efFor(wanted: number, efSearch: number, shards: number): number {
  const ofOne = Math.max(efSearch, 2 * wanted);
  return Math.min(ofOne, Math.max(4 * wanted, Math.ceil(ofOne / Math.sqrt(shards))));
}

const widening = 4;

/**
 * How a filtered query is searched: the graph is asked for its nearest rows whatever the filter says of them, as many as are
 * likely to hold enough matches; when they do not, for four times as many; and as soon as that would cost more than
 * exact search of the matching rows, that answers. These are the ef values to search by, ascending; none when exact search
 * is the cheaper way from the start.
 *
 * So a query costs at most a small multiple of the cheaper way, wherever its matches lie. hnswlib's own filtered search
 * goes on until ef matches are found: where they lie far from the query, as real filters' often do, it visits most of
 * the graph first.
 */
export function* efsBeforeExact(search: {
  readonly wanted: number;
  readonly matching: number;
  readonly slots: number;
  readonly efSearch: number;
}): Generator<number> {
  const { wanted, matching, slots, efSearch } = search;
  // Twice as many as would do were the matches spread evenly.
  const first = Math.max(efSearch, Math.ceil((2 * wanted * slots) / matching));
  for (let ef = first; ef <= visitsMax(matching); ef *= widening) yield ef;
}
