/**
 * The best k of several result lists: of a view's segments, or of a collection's shards.
 */

/** A smaller distance is better. */
export interface Ranked {
  readonly id: string;
  readonly distance: number;
}

/** Nearest first; equal distances by id, so that one snapshot gives one answer whatever the order of its segments. */
function compareRanked(a: Ranked, b: Ranked): number {
  return a.distance - b.distance || compareIds(a.id, b.id);
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff;

/**
 * The order of ids: by their UTF-8 bytes, which is that of their code points, and that of SQLite. JavaScript's own order,
 * by UTF-16 units, puts what has surrogates (😀) before the last of what has none (ﬁ).
 */
export function compareIds(a: string, b: string): number {
  if (a === b) return 0;
  let at = 0;
  while (at < a.length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1;
  // Behind its end a text has no unit: NaN, which is neither a surrogate nor above one.
  const [ofA, ofB] = [a.charCodeAt(at), b.charCodeAt(at)];
  if (isSurrogate(ofA) && ofB > 0xdfff) return 1;
  if (isSurrogate(ofB) && ofA > 0xdfff) return -1;
  return a < b ? -1 : 1;
}

/**
 * The k nearest hits of all lists, which may be in any order. An id that comes several times is taken once, nearest
 * first. Distances must be finite. Lists hold at most k or a few times k hits each, so sorting all of them is cheap.
 */
export function mergeTopK<Hit extends Ranked>(lists: readonly (readonly Hit[])[], k: number): Hit[] {
  const sorted = lists.flat().sort(compareRanked);
  const seen = new Set<string>();
  const best: Hit[] = [];
  for (const hit of sorted) {
    if (best.length >= k) break;
    if (seen.has(hit.id)) continue;
    seen.add(hit.id);
    best.push(hit);
  }
  return best;
}
