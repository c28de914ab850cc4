/**
 * A view: open segments that together are one version of a shard (with or without the backlog laid over it), and
 * which of their rows are alive: those of which no other segment of the view holds a later write.
 *
 * A view is immutable, and segments are shared between views.
 */

import { join } from "node:path";
import type { Manifest } from "../../core/format/manifest.ts";
import { bounds } from "../../core/model/bounds.ts";
import { invalid } from "../../core/model/errors.ts";
import type { Filter } from "../../core/model/filter.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import { compareOrder, type RowOrder } from "../../core/model/row.ts";
import { NewestWrites } from "../../segment/newest-writes.ts";
import type { AnswerRow, OpenSegment } from "../../segment/open-segment.ts";
import type { SegmentWork } from "../../segment/segment-work.ts";
import type { Shadowed } from "../../segment/shadowed-rows.ts";
import type { Alive } from "../../segment/vector-search.ts";
import type { Found, Hit, SearchOptions, SnapshotView } from "./snapshot-view.ts";

/** A live row of an open segment, which is read when it goes into an answer. */
export class ViewRow implements Found {
  readonly segment: OpenSegment;
  readonly label: number;

  constructor(segment: OpenSegment, label: number) {
    this.segment = segment;
    this.label = label;
  }
  get source(): string {
    return join(this.segment.folder, "records.db");
  }
  row(parts: { readonly document: boolean }): AnswerRow {
    return this.segment.row(this.label, parts);
  }
}

/** A result whose row is read when it is asked for, and kept: most that segments find come into no answer. */
export class ViewHit extends ViewRow implements Hit {
  readonly distance: number;
  readonly #parts: { readonly document: boolean };
  #row: AnswerRow | undefined;

  constructor(
    segment: OpenSegment,
    { label, distance }: { label: number; distance: number },
    parts: { readonly document: boolean },
  ) {
    super(segment, label);
    this.distance = distance;
    this.#parts = parts;
  }
  get id(): string {
    return this.#read().id;
  }
  override row(parts: { readonly document: boolean }): AnswerRow {
    return parts.document === this.#parts.document ? this.#read() : super.row(parts);
  }
  #read(): AnswerRow {
    this.#row ??= super.row(this.#parts);
    return this.#row;
  }
}

/** The labels of one segment whose rows another segment supersedes (`shadowed.get(a).get(b)`: a's, by b), kept while both are open. */
const shadowed = new WeakMap<OpenSegment, WeakMap<OpenSegment, Uint32Array>>();
/** Segments that a view adds to one before are compared with each of its segments, up to this many. */
const addedMax = 2;

export class View implements SnapshotView {
  readonly manifest: Manifest;
  readonly segments: readonly OpenSegment[];
  /** Deltas of the backlog that are laid over the version. */
  readonly overlaid: readonly string[];
  readonly #alive: ReadonlyMap<OpenSegment, Alive>;

  /** `before`: a view of which this one has every segment, or nearly; it only saves work. */
  constructor(
    manifest: Manifest,
    segments: readonly OpenSegment[],
    { overlaid = [], before = null }: { overlaid?: readonly string[]; before?: View | null } = {},
  ) {
    this.manifest = manifest;
    this.segments = segments;
    this.overlaid = overlaid;
    // Pieces of a backlog are few, and come one by one: what was compared is remembered.
    const addedMost = overlaid.length > 0 ? segments.length : addedMax;
    this.#alive = (before === null ? null : before.#aliveWith(segments, addedMost)) ?? aliveIn(segments);
  }

  /**
   * Compares what the view of these segments is going to compare, by who does such work: making the view is quick then. Where
   * too many pairs are unknown, they are not compared one by one.
   */
  static async prepare(
    segments: readonly OpenSegment[],
    before: View | null,
    work: SegmentWork,
  ): Promise<void> {
    const added = before === null ? segments : segments.filter((segment) => !before.#alive.has(segment));
    if (added.length > addedMax && unknownPairs(segments) > bounds.comparedPairs) return;
    for (const a of added) for (const b of segments) if (a !== b) await compareBeside(work, a, b);
  }

  /** This view with segments of the backlog over it. */
  over(laidOver: readonly OpenSegment[], deltas: readonly DeltaId[]): View {
    return new View(this.manifest, [...this.segments, ...laidOver], { overlaid: deltas, before: this });
  }

  get segmentCount(): number {
    return this.segments.length;
  }
  get warm(): this {
    return this;
  }
  get liveRows(): number {
    return this.segments.reduce((sum, segment) => sum + this.#aliveOf(segment).rows, 0);
  }

  /** The nearest live rows of every segment. */
  search(query: Float32Array, options: SearchOptions): ViewHit[] {
    return this.searchIn(this.segments, query, options);
  }

  /** Of some segments of this view. */
  searchIn(
    segments: readonly OpenSegment[],
    query: Float32Array,
    { topK, filter, excludeIds, efOf, document }: SearchOptions,
  ): ViewHit[] {
    const parts = { document };
    return segments.flatMap((segment) => {
      const excluded = excludeIds
        .map((id) => segment.find(id)?.label ?? null)
        .filter((label) => label !== null);
      const alive = segment.without(this.#aliveOf(segment), excluded);
      const labels = filter === null ? null : segment.matching(filter, alive);
      return segment
        .nearest(query, topK, alive, labels, efOf(segment))
        .map((hit) => new ViewHit(segment, hit, parts));
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
  find(id: string): ViewRow | null {
    let last: { order: RowOrder; found: ViewRow | null } | null = null;
    for (const segment of this.segments) {
      const row = segment.find(id);
      if (row === null || (last !== null && compareOrder(row, last.order) <= 0)) continue;
      last = { order: row, found: row.label === null ? null : new ViewRow(segment, row.label) };
    }
    return last?.found ?? null;
  }

  /** What is alive in this view's segments and a few more; null where that is not what they are. */
  #aliveWith(segments: readonly OpenSegment[], addedMost: number): Map<OpenSegment, Alive> | null {
    const added = segments.filter((segment) => !this.#alive.has(segment));
    if (added.length > addedMost || segments.length - added.length < this.segments.length) return null;
    const alive = new Map(this.#alive);
    for (const segment of added) {
      let own: Alive = segment.held;
      for (const [other, before] of alive) {
        compare(segment, other);
        own = segment.without(own, shadowed.get(segment)!.get(other)!);
        alive.set(other, other.without(before, shadowed.get(other)!.get(segment)!));
      }
      alive.set(segment, own);
    }
    return alive;
  }

  #aliveOf(segment: OpenSegment): Alive {
    return this.#alive.get(segment)!;
  }
}

/** In linear time but for pairs of graphs, of which there are few, and for as many others as are worth remembering. */
function aliveIn(segments: readonly OpenSegment[]): Map<OpenSegment, Alive> {
  const dead = new Map<OpenSegment, number[]>(segments.map((segment) => [segment, []]));
  const byId = [...segments].sort((a, b) => (a.segment.id < b.segment.id ? -1 : 1));
  const graphs = byId.filter(({ segment }) => segment.kind === "hnsw");
  const flats = byId.filter(({ segment }) => segment.kind === "flat");
  const isFolded = unknownPairs(segments) > bounds.comparedPairs;
  const compared = isFolded ? graphs : byId;
  for (const [i, a] of compared.entries()) {
    for (const b of compared.slice(i + 1)) {
      compare(a, b);
      for (const label of shadowed.get(a)!.get(b)!) dead.get(a)!.push(label);
      for (const label of shadowed.get(b)!.get(a)!) dead.get(b)!.push(label);
    }
  }
  if (isFolded) fold(flats, graphs, dead);
  return new Map(segments.map((segment) => [segment, segment.without(segment.held, dead.get(segment)!)]));
}

function fold(
  flats: readonly OpenSegment[],
  graphs: readonly OpenSegment[],
  dead: Map<OpenSegment, number[]>,
): void {
  const newest = new NewestWrites(dead);
  try {
    for (const flat of flats) newest.fold(flat);
    for (const graph of graphs) newest.compare(graph);
  } finally {
    newest.close();
  }
}

/** How many have not been compared; counted no further than matters. */
function unknownPairs(segments: readonly OpenSegment[]): number {
  let unknown = 0;
  for (const [i, a] of segments.entries()) {
    const known = shadowed.get(a);
    for (let n = i + 1; n < segments.length && unknown <= bounds.comparedPairs; n++)
      if (known === undefined || !known.has(segments[n]!)) unknown += 1;
  }
  return unknown;
}

/** The same write in two segments must die in one and the same of them, whatever the order of the question. */
const inOrder = (a: OpenSegment, b: OpenSegment): [OpenSegment, OpenSegment] =>
  a.segment.id < b.segment.id ? [a, b] : [b, a];

function compare(a: OpenSegment, b: OpenSegment): void {
  if (shadowedIn(a).has(b)) return;
  const [first, second] = inOrder(a, b);
  remember(first, second, first.shadows(second));
}

async function compareBeside(work: SegmentWork, a: OpenSegment, b: OpenSegment): Promise<void> {
  if (shadowedIn(a).has(b)) return;
  const [first, second] = inOrder(a, b);
  remember(first, second, await work.shadowed(first, second));
}

function remember(first: OpenSegment, second: OpenSegment, { mine, theirs }: Shadowed): void {
  shadowedIn(first).set(second, mine);
  shadowedIn(second).set(first, theirs);
}

function shadowedIn(segment: OpenSegment): WeakMap<OpenSegment, Uint32Array> {
  const known = shadowed.get(segment) ?? new WeakMap<OpenSegment, Uint32Array>();
  shadowed.set(segment, known);
  return known;
}

/** Bound on ids in one call, for queries and gets. */
export const idsMax = 1_000;
export function checkIds(field: string, ids: readonly string[]): readonly string[] {
  if (ids.length > idsMax) throw invalid(`${field}: at most ${idsMax} ids, got ${ids.length}`);
  return ids;
}
