/**
 * A view: open segments that together are one version of a shard (with or without unmerged deltas laid over it), and
 * which of their rows are alive: those of which no other segment of the view holds a later write.
 *
 * A view is immutable, and segments are shared between views.
 */
import { invalid } from "../core/errors.ts";
import type { Filter } from "../core/filter.ts";
import type { Manifest } from "../core/manifest.ts";
import { compareOrder } from "../core/record.ts";
import type { Alive, OpenSegment } from "../segment/open-segment.ts";

export interface Found {
  readonly segment: OpenSegment;
  readonly label: number;
}

/** A result whose id is read when it is asked for, and kept; its row is read when it goes into an answer. */
export class ViewHit implements Found {
  readonly segment: OpenSegment;
  readonly label: number;
  readonly distance: number;
  #id: string | undefined;

  constructor(segment: OpenSegment, { label, distance }: { label: number; distance: number }) {
    this.segment = segment;
    this.label = label;
    this.distance = distance;
  }
  get id(): string {
    this.#id ??= this.segment.idOf(this.label);
    return this.#id;
  }
}

export interface SearchOptions {
  readonly topK: number;
  readonly filter: Filter | null;
  readonly excludeIds: readonly string[];
}

/** Which of `loser`'s labels die of `winner`; kept for as long as both are open. */
const killed = new WeakMap<OpenSegment, WeakMap<OpenSegment, readonly number[]>>();

export class View {
  readonly manifest: Manifest;
  readonly segments: readonly OpenSegment[];
  /** Unmerged deltas that are laid over the version. */
  readonly overlaid: readonly string[];
  readonly #alive: ReadonlyMap<OpenSegment, Alive>;

  constructor(manifest: Manifest, segments: readonly OpenSegment[], overlaid: readonly string[] = []) {
    this.manifest = manifest;
    this.segments = segments;
    this.overlaid = overlaid;
    this.#alive = aliveIn(segments);
  }

  /** This view with one more segment, of unmerged deltas, over it. */
  over(overlay: OpenSegment, deltas: readonly string[]): View {
    return new View(this.manifest, [...this.segments, overlay], deltas);
  }

  get liveRows(): number {
    return this.segments.reduce((sum, segment) => sum + this.#aliveOf(segment).rows, 0);
  }

  /** The nearest live rows of every segment; at least min(topK, matches) among them. */
  search(query: Float32Array, { topK, filter, excludeIds }: SearchOptions): ViewHit[] {
    return this.segments.flatMap((segment) => {
      const excluded = excludeIds
        .map((id) => segment.find(id)?.label ?? null)
        .filter((label) => label !== null);
      const alive = segment.without(this.#aliveOf(segment), excluded);
      const labels = filter === null ? null : segment.matching(filter, alive);
      return segment.nearest(query, topK, alive, labels).map((hit) => new ViewHit(segment, hit));
    });
  }

  count(filter: Filter | null): number {
    if (filter === null) return this.liveRows;
    return this.segments.reduce(
      (sum, segment) => sum + segment.matching(filter, this.#aliveOf(segment)).length,
      0,
    );
  }

  /** The live row of an id; null when there is none. */
  find(id: string): Found | null {
    let last: { order: Parameters<typeof compareOrder>[0]; found: Found | null } | null = null;
    for (const segment of this.segments) {
      const row = segment.find(id);
      if (row === null || (last !== null && compareOrder(row, last.order) <= 0)) continue;
      last = { order: row, found: row.label === null ? null : { segment, label: row.label } };
    }
    return last?.found ?? null;
  }

  #aliveOf(segment: OpenSegment): Alive {
    return this.#alive.get(segment)!;
  }
}

function aliveIn(segments: readonly OpenSegment[]): Map<OpenSegment, Alive> {
  for (const [i, a] of segments.entries()) {
    for (const b of segments.slice(i + 1)) learn(a, b);
  }
  return new Map(
    segments.map((segment) => {
      const others = segments.filter((other) => other !== segment);
      const dead = others.flatMap((other) => killed.get(segment)!.get(other)!);
      return [segment, segment.without(segment.held, dead)];
    }),
  );
}

function learn(a: OpenSegment, b: OpenSegment): void {
  const [ofA, ofB] = [killsOf(a), killsOf(b)];
  if (ofA.has(b)) return;
  // The same write in two segments must die in one and the same of them, whatever the order of the question.
  const [first, second] = a.segment.id < b.segment.id ? [a, b] : [b, a];
  const { mine, theirs } = first.shadows(second);
  ofA.set(b, first === a ? mine : theirs);
  ofB.set(a, first === a ? theirs : mine);
}

function killsOf(segment: OpenSegment): WeakMap<OpenSegment, readonly number[]> {
  const known = killed.get(segment) ?? new WeakMap<OpenSegment, readonly number[]>();
  killed.set(segment, known);
  return known;
}

/** Bound on ids in one call, for queries and gets. */
export const idsMax = 1_000;
export function checkIds(field: string, ids: readonly string[]): readonly string[] {
  if (ids.length > idsMax) throw invalid(`${field}: at most ${idsMax} ids, got ${ids.length}`);
  return ids;
}
