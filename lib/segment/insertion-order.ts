/**
 * Which rows enter a merge's graph, and in which order. *Kept* are the live rows of the output; the *base* is the input whose
 * graph is grown, whose kept rows stay where they are; *added* are the others.
 *
 * Rows enter a graph in shuffled order, since similar rows in sequence make a worse one; a large graph takes only its first fifth
 * that way, and then cluster after cluster, so that what the processor's cache holds of one row's neighbours serves the next
 * (docs/adr/0010-insertion-order.md).
 */
import type { Collection } from "../core/model/collection.ts";
import type { MergeLimits } from "../core/policy/merge-plan.ts";
import { type Clustering, clusterRows } from "./clustering.ts";
import type { OpenInput, Place } from "./merge-inputs.ts";
import type { Checkpoint } from "./merge-output.ts";

/** The share of a large graph's new rows that comes first, shuffled: these lay out the whole, wherever later rows belong. */
const scatteredShare = 0.2;

/** Where a live row of the output comes from. */
export type KeptRow = { readonly input: number; readonly label: number };

export function keptRows(winners: ReadonlyMap<string, Place>): KeptRow[] {
  const rows: KeptRow[] = [];
  for (const { input, label } of winners.values()) if (label !== null) rows.push({ input, label });
  return rows;
}

/** The input whose graph is worth growing; null to build anew. */
export function growable(
  inputs: readonly OpenInput[],
  kept: readonly KeptRow[],
  { deadShareMax }: Pick<MergeLimits, "deadShareMax">,
): number | null {
  const graphs = inputs.map((_, i) => i).filter((i) => inputs[i]!.segment.kind === "hnsw");
  const largest = graphs.sort((a, b) => inputs[b]!.segment.slots - inputs[a]!.segment.slots)[0];
  if (largest === undefined) return null;
  const stay = kept.filter(({ input }) => input === largest).length;
  const { slots } = inputs[largest]!.segment;
  const slotsAfter = slots + kept.length - stay;
  return slots - stay <= slotsAfter * deadShareMax ? largest : null;
}

/**
 * The rows that enter the graph, in their order, which is that of their labels; and the clusters of every label's row where
 * the graph is large.
 */
export async function orderRows(
  inputs: readonly OpenInput[],
  collection: Collection,
  { kept, base }: { kept: readonly KeptRow[]; base: number | null },
  {
    limits,
    checkpoint,
  }: {
    readonly limits: Pick<MergeLimits, "clusteredComponentsMin">;
    readonly checkpoint: Checkpoint;
  },
): Promise<{ added: readonly KeptRow[]; clustering: Clustering | null }> {
  const order = Uint32Array.from(kept.keys()).filter((i) => kept[i]!.input !== base);
  shuffle(order);
  const rowsOf = (indexes: Uint32Array) => Array.from(indexes, (i) => kept[i]!);
  const first = base === null ? 0 : inputs[base]!.segment.slots;
  const slots = first + order.length;
  if (slots * collection.dims < limits.clusteredComponentsMin)
    return { added: rowsOf(order), clustering: null };
  const vectorOf = (i: number) => inputs[kept[i]!.input]!.vectors.at(kept[i]!.label);
  const { centroids, clusterOf } = await clusterRows(collection, kept.length, vectorOf, () =>
    checkpoint(0, 0),
  );
  const scattered = Math.ceil(order.length * scatteredShare);
  order.subarray(scattered).sort((a, b) => clusterOf[a]! - clusterOf[b]!);
  const clusterOfLabel = new Uint32Array(slots);
  for (const [i, { input, label }] of kept.entries())
    if (input === base) clusterOfLabel[label] = clusterOf[i]!;
  order.forEach((i, at) => {
    clusterOfLabel[first + at] = clusterOf[i]!;
  });
  return { added: rowsOf(order), clustering: { centroids, clusterOf: clusterOfLabel } };
}

/** Deterministic Fisher-Yates: the same inputs give the same file. */
function shuffle(items: Uint32Array): void {
  let state = 0x9e3779b9;
  for (let i = items.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
}
