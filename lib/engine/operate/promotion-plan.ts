/**
 * What promoting a version of a collection to another store would do there, id by id. Nothing is written.
 *
 * Rows keep the place that they have in the order of writes (version, delta, row), on both sides: so of an id the later write wins
 * whichever side it was made on, a delete like any other, and what was carried before is known again by its place alone.
 */
import type { Manifest } from "../../core/format/manifest.ts";
import { rowProblem } from "../../core/model/check-records.ts";
import { type Collection, tombstoneRetentionOf } from "../../core/model/collection.ts";
import { invalid, type Problem } from "../../core/model/errors.ts";
import { compareOrder, type RowOrder } from "../../core/model/row.ts";
import { shardOf } from "../../core/model/shard-of.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { clockSkewMaxMs } from "../../core/policy/time-bounds.ts";
import { withFolder } from "../../segment/files.ts";
import type { World } from "../ports.ts";
import { type VersionWrite, VersionWrites } from "./version-writes.ts";

const dayMs = 24 * 3_600_000;
/** Ids that are named of each kind. */
const examplesMax = 20;
const problemsMax = 100;

/** One side: a collection, and of each shard the version that is read. */
export interface Side {
  readonly world: World;
  readonly collection: Collection;
  readonly manifests: readonly Manifest[];
}

/** What becomes of a write of the source; the last three are not carried. */
export const fates = ["added", "replaced", "deleted", "buried", "returning", "same", "older"] as const;
/**
 * `added`: a row of an id that is not there, `replaced`: one that is; `deleted`: a delete of a row, `buried`: one of nothing;
 * `returning`: a row so old that a delete of it may have been forgotten there; `same`: it is there; `older`: a later one is there.
 */
export type Fate = (typeof fates)[number];

export interface PromotionPlan {
  readonly counts: Readonly<Record<Fate, number>>;
  /** Rows that only the target has. */
  readonly onlyThere: number;
  readonly examples: Readonly<Record<"deleted" | "returning" | "onlyThere", readonly string[]>>;
  /** Rows that the target's rules refuse: nothing is carried while there are any. */
  readonly refused: number;
  readonly problems: readonly Problem[];
}

export interface PromotionOptions {
  /** Rows come without vectors, which are made anew from the documents. */
  readonly withoutVectors: boolean;
  /** Rows of the target that the source does not have are deleted. */
  readonly mirror: boolean;
}

/** Throws `invalid` where rows of the one cannot be rows of the other: of another format, space, or kind of order. */
export function checkSides(from: Collection, to: Collection, { withoutVectors }: PromotionOptions): void {
  const differ = (what: string, a: unknown, b: unknown, advice: string) =>
    invalid(
      `${what} is ${JSON.stringify(a)} in ${from.name} of the source and ${JSON.stringify(b)} in ${to.name} of the target: ${advice}`,
    );
  // A profile of a provider is a configuration of a newer format: this code has read both.
  if (from.format !== to.format && !withoutVectors)
    throw differ(
      "the format",
      from.format,
      to.format,
      "bring both stages to one version of the code, and the target to the configuration of the source",
    );
  if (from.ordering !== to.ordering)
    throw differ("the ordering", from.ordering, to.ordering, "their writes have no common order");
  if (withoutVectors) {
    if (to.embedder === null)
      throw invalid(`collection ${to.name} of the target has no embedder, which --without-vectors needs`);
    return;
  }
  const advice = "vectors of two models cannot be mixed; --without-vectors embeds the documents anew";
  if (from.embeddingVersion !== to.embeddingVersion)
    throw differ("the embedding space", from.embeddingVersion, to.embeddingVersion, advice);
  if (from.metric !== to.metric) throw differ("the metric", from.metric, to.metric, advice);
  if (from.dims !== to.dims) throw differ("dims", from.dims, to.dims, advice);
}

/** Both sides' writes, open on local disk. */
export interface OpenSides {
  readonly from: readonly VersionWrites[];
  /** By shard. */
  readonly to: readonly VersionWrites[];
}

export async function withSides<T>(
  from: Side,
  to: Side,
  { withVectors }: { readonly withVectors: boolean },
  work: (sides: OpenSides) => Promise<T>,
): Promise<T> {
  return withFolder(async (folder) => {
    const all: VersionWrites[] = [];
    const open = async (side: Side, name: string, vectors: boolean) => {
      const opened: VersionWrites[] = [];
      for (const manifest of side.manifests) {
        const options = { folder: `${folder}/${name}-${manifest.shard}`, withVectors: vectors };
        opened.push(await VersionWrites.open(side.world, side.collection, manifest, options));
        all.push(opened.at(-1)!);
      }
      return opened;
    };
    try {
      return await work({ from: await open(from, "from", withVectors), to: await open(to, "to", false) });
    } finally {
      for (const one of all) one.close();
    }
  });
}

export interface Judged {
  readonly write: VersionWrite;
  readonly shard: number;
  readonly fate: Fate;
}

/** Every newest write of the source, with what becomes of it. `nowMs`: of the target. */
export function* judged(to: Side, sides: OpenSides, nowMs: number): Generator<Judged> {
  const forgottenMs = forgottenBeforeMs(to, nowMs);
  for (const writes of sides.from) {
    for (const write of writes.all()) {
      const shard = shardOf(write.id, to.collection.shards);
      yield { write, shard, fate: fateOf(write, sides.to[shard]!.newest(write.id), forgottenMs) };
    }
  }
}

function fateOf(
  write: VersionWrite,
  there: (RowOrder & { readonly isDelete: boolean }) | null,
  forgottenMs: number,
): Fate {
  const order = there === null ? 1 : compareOrder(write, there);
  if (order === 0) return "same";
  if (order < 0) return "older";
  const isRowThere = there !== null && !there.isDelete;
  if (write.isDelete) return isRowThere ? "deleted" : "buried";
  if (there !== null) return isRowThere ? "replaced" : "added";
  return ulidTimeMs(write.delta) < forgottenMs ? "returning" : "added";
}

/**
 * A row that is older may have been deleted in the target, and the delete forgotten since. None is while the collection is younger
 * than what its deletes are remembered for.
 */
function forgottenBeforeMs({ collection, manifests }: Side, nowMs: number): number {
  const retention = tombstoneRetentionOf(collection);
  const isEmpty = manifests.every(({ version }) => version === 0);
  if (retention === "never" || isEmpty) return 0;
  const beforeMs = nowMs - retention * dayMs + clockSkewMaxMs;
  return Date.parse(collection.createdAt) < beforeMs ? beforeMs : 0;
}

/** Rows of the target of ids that the source has no write of, with their shards. */
export function* onlyInTarget(
  { from, to }: OpenSides,
  ofSource: Collection,
): Generator<{ write: VersionWrite; shard: number }> {
  for (const [shard, writes] of to.entries())
    for (const write of writes.all())
      if (!write.isDelete && from[shardOf(write.id, ofSource.shards)]!.newest(write.id) === null)
        yield { write, shard };
}

/** Why the target does not take a row; its vector is one of the same space, and is looked at where it is read. */
export function problemThere(to: Collection, write: VersionWrite, options: PromotionOptions): Problem | null {
  if (write.isDelete) return null;
  if (options.withoutVectors && write.document === null)
    return { id: write.id, field: "document", reason: "is missing: there is nothing to embed" };
  return rowProblem(to, { ...write, vector: null });
}

export async function planPromotion(
  from: Side,
  to: Side,
  options: PromotionOptions,
  onProgress: (writes: number) => void = () => {},
): Promise<PromotionPlan> {
  checkSides(from.collection, to.collection, options);
  return withSides(from, to, { withVectors: false }, async (sides) => {
    const counts = Object.fromEntries(fates.map((fate) => [fate, 0])) as Record<Fate, number>;
    const examples = { deleted: [] as string[], returning: [] as string[], onlyThere: [] as string[] };
    const name = (kind: keyof typeof examples, id: string) => {
      if (examples[kind].length < examplesMax) examples[kind].push(id);
    };
    const problems: Problem[] = [];
    let [refused, onlyThere, seen] = [0, 0, 0];
    for (const { write, fate } of judged(to, sides, to.world.clock.nowMs())) {
      counts[fate] += 1;
      if (fate === "deleted" || fate === "returning") name(fate, write.id);
      if (fate !== "same" && fate !== "older") {
        const problem = problemThere(to.collection, write, options);
        if (problem !== null) refused += 1;
        if (problem !== null && problems.length < problemsMax) problems.push(problem);
      }
      if (++seen % 1_000 === 0) onProgress(seen);
    }
    for (const { write } of onlyInTarget(sides, from.collection)) {
      onlyThere += 1;
      name("onlyThere", write.id);
    }
    return { counts, onlyThere, examples, refused, problems };
  });
}
