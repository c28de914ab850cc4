/**
 * Ten rounds that each write 30 % of the rows anew: the snapshot must never be larger than 1.3 × one built fresh from the
 * same rows, and recall no more than 0.01 below its. In a shard that can grow, and in shards whose rows fill one or
 * two segments, by a smaller bound on a segment: a segment too large to be merged with anything has to be reclaimed by itself.
 */
import { snapshotBytes } from "../../lib/core/format/manifest.ts";
import { type MergeLimits, mergeLimits } from "../../lib/core/policy/merge-plan.ts";
import { merge } from "../../lib/engine/compact/merge.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { gaussian, gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { round } from "./measure.ts";
import type { Cell, Check, Scenario } from "./scenario.ts";
import {
  compactAll,
  emptyStore,
  far,
  produceRows,
  readerOf,
  recordOf,
  rowOfId,
  type Store,
} from "./store.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly queries: number;
  readonly rounds: number;
}

const share = 0.3;
const callRows = 1000;
const topK = 10;

export const churn: Scenario<Size> = {
  name: "churn",
  about: "ten rounds of 30 %: size and recall beside a fresh build",
  full: { rows: 50_000, dims: 384, queries: 300, rounds: 10 },
  tiny: { rows: 2_600, dims: 16, queries: 5, rounds: 2 },
  async run(size, log) {
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    for (const full of [0, 1, 2]) {
      const name = full === 0 ? "can grow" : `${full} full`;
      const { most, after, anew } = await churned(size, full, (line, cells) => {
        log(`${name}: ${line}`);
        if (cells) rows.push([name, ...cells]);
      });
      const ratio = most / anew.bytes;
      const loss = anew.recall - after.recall;
      checks.push(
        {
          target: `${name}: size within 1.3 × a fresh build`,
          measured: round(ratio),
          met: ratio <= 1.3,
          // Small shards that can grow are mostly one flat segment, which holds no dead rows.
          counted: full > 0,
        },
        {
          target: `${name}: recall within 0.01 of a fresh build`,
          measured: `${round(after.recall, 4)} beside ${round(anew.recall, 4)}`,
          met: loss <= 0.01,
        },
      );
    }
    const title = `${size.rounds} rounds of ${share * 100} % of ${size.rows} × ${size.dims}`;
    return { tables: [{ title, columns: ["shard", "round", "MB", "segments"], rows }], checks };
  },
};

/** Limits by which so many rows fill `full` segments; those of the product where that is 0. */
function limitsOf({ rows, dims }: Size, full: number): MergeLimits {
  if (full === 0) return mergeLimits;
  const segmentComponentsMax = Math.floor((rows * dims) / full);
  const shareOf = (part: number) => (part * segmentComponentsMax) / mergeLimits.segmentComponentsMax;
  return {
    ...mergeLimits,
    flatRowsMax: Math.max(20, Math.round(shareOf(mergeLimits.flatRowsMax))),
    segmentComponentsMax,
    segmentWeightMax: far,
    clusteredComponentsMin: shareOf(mergeLimits.clusteredComponentsMin),
  };
}

async function churned(
  size: Size,
  full: number,
  tell: (line: string, cells?: Cell[]) => void,
): Promise<{ most: number; after: Measured; anew: Measured }> {
  const limits = limitsOf(size, full);
  const vectors = gaussianMixture(size);
  const built = async () => {
    const store = await emptyStore(vectors);
    const part = Math.ceil(size.rows / Math.max(1, full));
    for (let start = 0; start < size.rows; start += part) {
      await produceRows(store, vectors, { start, limit: Math.min(size.rows, start + part) });
      await settle(store, limits);
    }
    return store;
  };
  const store = await built();
  const draw = gaussian(7);
  let most = 0;
  for (let at = 1; at <= size.rounds; at++) {
    await rewrite(store, vectors, (row) => (row * 7 + at * 3) % 10 < share * 10, draw);
    await settle(store, limits);
    const { manifest } = await readHead(store.world.store, store.collection, 0);
    const bytes = snapshotBytes(manifest);
    most = Math.max(most, bytes);
    tell(`round ${at}`, [at, round(bytes / 1e6, 4), manifest.segments.length]);
  }
  const after = await measure(store, vectors);
  tell("fresh build");
  const anew = await measure(await built(), vectors);
  tell("compared", ["fresh", round(anew.bytes / 1e6, 4), anew.segments]);
  return { most, after, anew };
}

/** Ingests and merges as the schedules do, by these limits. */
async function settle(store: Store, limits: MergeLimits): Promise<void> {
  await compactAll(store, { upkeep: false });
  await merge(store.world, store.collection, 0, { deadlineMs: far, limits });
}

/** Writes the chosen rows again with vectors a little moved, in place in `vectors`, so that it stays the truth. */
async function rewrite(
  { world }: Store,
  vectors: Vectors,
  chosen: (row: number) => boolean,
  draw: () => number,
): Promise<void> {
  const rows = Array.from({ length: vectors.rows }, (_, row) => row).filter(chosen);
  for (let at = 0; at < rows.length; at += callRows) {
    const records = rows.slice(at, at + callRows).map((row) => {
      const record = recordOf(vectors, row);
      for (let i = 0; i < vectors.dims; i++) record.vector[i]! += 0.02 * draw();
      return record;
    });
    world.clock.advance(1000);
    await produce(world, { collection: "bench", records });
  }
}

interface Measured {
  readonly recall: number;
  readonly bytes: number;
  readonly segments: number;
}

async function measure(store: Store, vectors: Vectors): Promise<Measured> {
  const reader = readerOf(store);
  const found: number[][] = [];
  for (const vector of vectors.queries) {
    const { results } = await reader.query({ collection: "bench", vector, topK });
    found.push(results.map(({ id }) => rowOfId(id)));
  }
  await reader.close();
  const { manifest } = await readHead(store.world.store, store.collection, 0);
  return {
    recall: recallOf(found, truthOf(vectors, "cosine", topK)),
    bytes: snapshotBytes(manifest),
    segments: manifest.segments.length,
  };
}
