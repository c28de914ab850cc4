/**
 * Merges segments on local disk into one.
 *
 *  1. Every input row is met once; the last write of each id is kept, the rest is retired: also what a segment that stays
 *     as it is supersedes.
 *  2. The largest graph among the inputs is grown by the other rows, as long as no more than a quarter of its nodes
 *     would be dead: inserting costs per small row, never per large. Otherwise the graph is built anew.
 *  3. The output is described by what its files hold.
 *
 * A small result is flat: exact search over it is cheaper than a graph. Which rows enter a graph, and in which order, says
 * insertion-order.ts; merge-output.ts writes the files.
 */
import type { Segment } from "../core/format/manifest.ts";
import { type RowSum, sumOf } from "../core/format/row-checksum.ts";
import type { Collection } from "../core/model/collection.ts";
import type { SegmentId } from "../core/model/ids.ts";
import type { MergeLimits } from "../core/policy/merge-plan.ts";
import type { Counts } from "../core/policy/stale-rows.ts";
import type { Clustering } from "./clustering.ts";
import { describeSegment, hashFiles, type Measured, measureRows, type SegmentFiles } from "./files.ts";
import { growable, keptRows, orderRows } from "./insertion-order.ts";
import {
  dropSuperseded,
  foldInputs,
  type MergeInput,
  type Met,
  meetNeighbours,
  type Neighbour,
  rowsAt,
  withInputs,
} from "./merge-inputs.ts";
import { type Checkpoint, MergeOutput } from "./merge-output.ts";
import { writeClusters } from "./write-clusters.ts";

export interface MergeOptions {
  readonly id: SegmentId;
  readonly limits: Pick<MergeLimits, "flatRowsMax" | "deadShareMax" | "clusteredComponentsMin">;
  /** Tombstones whose delta was made before this are dropped, unless a neighbour may hold what they beat. 0 keeps all. */
  readonly dropTombstonesBeforeMs: number;
  /** Neighbours whose records.db is in their folder: what they supersede is left out. @default no neighbour */
  readonly against?: readonly MergeInput[];
  /** All other segments of the version, those of `against` as well. @default no neighbour: the inputs are the whole shard */
  readonly neighbours?: AsyncIterable<Neighbour>;
  /** Builds a graph from its rows, whatever could be grown: nothing dead stays in it. @default false */
  readonly anew?: boolean;
  readonly checkpoint: Checkpoint;
}

export interface Merged extends Met {
  readonly segment: Segment;
  /** Checksum of every row of every input, as read from their files. */
  readonly cameIn: RowSum;
  readonly retired: RowSum;
  readonly grown: boolean;
  readonly supersedes: Counts;
}

export const mergeSegments = (
  folder: string,
  collection: Collection,
  merging: readonly MergeInput[],
  options: MergeOptions,
): Promise<Merged> =>
  withInputs(merging, collection, async (inputs) => {
    const folded = foldInputs(inputs, collection);
    const { winners, losers, cameIn } = folded;
    const compared = await dropSuperseded(folded, options.against ?? [], collection);
    const supersedes = new Map([...compared].map(([id, { older }]) => [id, older]));
    const { dropTombstonesBeforeMs, neighbours = none() } = options;
    const met = await meetNeighbours(folded, dropTombstonesBeforeMs, neighbours, compared);
    const retired = sumOf(rowsAt(inputs, losers));
    const kept = keptRows(winners);
    const kind = kept.length > options.limits.flatRowsMax ? "hnsw" : "flat";
    const base = kind === "hnsw" && !options.anew ? growable(inputs, kept, options.limits) : null;
    const { added, clustering } =
      kind === "hnsw"
        ? await orderRows(inputs, collection, { kept, base }, options)
        : { added: kept, clustering: null };
    const [graphFile, { measured, files }] = await sideBySide(options.checkpoint, (checkpoint) => {
      const output = new MergeOutput(folder, collection, inputs, { base, winners }, checkpoint);
      return [
        kind === "hnsw" ? output.writeGraph(added.length) : Promise.resolve({}),
        output.writeRows(added).then(() => describe(folder, collection, clustering, () => checkpoint(0, 0))),
      ];
    });
    const segment = describeSegment({ id: options.id, kind }, measured, { ...graphFile, ...files });
    return { segment, cameIn, retired, supersedes, ...met, grown: base !== null };
  });

/**
 * Two tasks with one checkpoint: when one fails, the other fails at its next
 * checkpoint. Both have ended when the first failure is thrown: neither may go on in a folder that is deleted.
 */
async function sideBySide<A, B>(
  checkpoint: Checkpoint,
  begin: (checkpoint: Checkpoint) => readonly [Promise<A>, Promise<B>],
): Promise<[A, B]> {
  const failing = new AbortController();
  const tasks = begin(async (done, all) => {
    failing.signal.throwIfAborted();
    await checkpoint(done, all);
  });
  for (const task of tasks) task.catch((error: unknown) => failing.abort(error));
  await Promise.allSettled(tasks);
  failing.signal.throwIfAborted();
  return Promise.all(tasks);
}

/** What the files beside the graph hold. */
async function describe(
  folder: string,
  collection: Collection,
  clustering: Clustering | null,
  checkpoint: () => Promise<void>,
): Promise<{ measured: Measured; files: SegmentFiles }> {
  const measured = await measureRows(folder, collection.dims, checkpoint);
  const files = await hashFiles(folder, ["vectors.f32", "records.db"]);
  if (clustering === null) return { measured, files };
  const clusters = await writeClusters(folder, collection, clustering, measured.digests, checkpoint);
  return { measured, files: { ...files, "clusters.bin": clusters } };
}

async function* none(): AsyncGenerator<never> {}
