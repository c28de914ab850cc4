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
 * How many of the nearest nodes a graph is searched for when it has all rows. With as many as are wanted, the last of a hundred or
 * a thousand are found with a recall of 0.974 to 0.999 (six sets of vectors), with twice as many of 0.994 to 1.
 */
export const efOfAll = (wanted: number, efSearch: number): number => Math.max(efSearch, 2 * wanted);

/** Fewer lose the way: of 16 graphs of 2,000 rows without any structure 16 find 0.963, 24 find 0.990 (docs/adr/0013-effort-by-share.md). */
const efLeast = 24;
/** Of what a graph's share of the rows has of the answer, by a random spread; one in fifty has more. */
const standardDeviations = 2;

/** Nodes for each row that a graph is likely to have of the answer, at the least: with 2 the last of a hundred are found less often than in one graph. */
const nodesPerRow = 3;

/**
 * Likewise, when it has `rows` of `among`, which several graphs have together: as many for each row that it is likely to have of the
 * answer as one graph of all of them is searched for (`ofAll`, efOfAll of the same). One so small that exact search is the cheaper way
 * for all of the answer stays so.
 */
export function efOfShare(
  wanted: number,
  ofAll: number,
  { rows, among }: { rows: number; among: number },
): number {
  if (ofAll > visitsMax(rows)) return ofAll;
  const mean = (wanted * rows) / among;
  const likely = mean + standardDeviations * Math.sqrt(mean);
  return Math.min(ofAll, Math.max(efLeast, Math.ceil(likely * perRow(wanted, ofAll))));
}

/** Whether a graph that was searched for `ef` nodes turned out to have more of the answer than those were for: then there may be more. */
export const hasMore = (found: number, wanted: number, ofAll: number, ef: number): boolean =>
  ef < ofAll && found * perRow(wanted, ofAll) > ef;

const perRow = (wanted: number, ofAll: number): number => Math.max(nodesPerRow, ofAll / wanted);

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
