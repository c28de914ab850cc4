/**
 * Ten rounds that each write 30 % of the rows anew: afterwards the snapshot must be no larger than 1.3 × one built
 * fresh from the same rows, and recall no more than 0.01 below its.
 */
import { snapshotBytes } from "../../lib/core/manifest.ts";
import { readHead } from "../../lib/engine/head.ts";
import { produce } from "../../lib/engine/produce.ts";
import { gaussian, gaussianMixture, recallOf, truthOf, type Vectors } from "./data.ts";
import { round } from "./measure.ts";
import type { Cell, Scenario } from "./scenario.ts";
import { compactAll, emptyStore, produceRows, readerOf, recordOf, rowOfId, type Store } from "./store.ts";

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
    const vectors = gaussianMixture(size);
    const churned = await emptyStore(vectors);
    await produceRows(churned, vectors, { start: 0, limit: size.rows });
    await compactAll(churned);
    const rows: Cell[][] = [];
    const draw = gaussian(7);
    for (let at = 1; at <= size.rounds; at++) {
      log(`round ${at}`);
      await rewrite(churned, vectors, (row) => (row * 7 + at * 3) % 10 < share * 10, draw);
      await compactAll(churned);
      const { manifest } = await readHead(churned.world.store, churned.collection, 0);
      rows.push([at, round(snapshotBytes(manifest) / 1e6, 4), manifest.segments.length]);
    }
    log("fresh build");
    const fresh = await emptyStore(vectors);
    await produceRows(fresh, vectors, { start: 0, limit: size.rows });
    await compactAll(fresh);
    const [after, anew] = [await measure(churned, vectors), await measure(fresh, vectors)];
    rows.push(["fresh", round(anew.bytes / 1e6, 4), anew.segments]);
    const ratio = after.bytes / anew.bytes;
    const loss = anew.recall - after.recall;
    return {
      tables: [
        {
          title: `${size.rounds} rounds of ${share * 100} % of ${size.rows} × ${size.dims}`,
          columns: ["round", "MB", "segments"],
          rows,
        },
      ],
      checks: [
        { target: "size within 1.3 × a fresh build", measured: round(ratio), met: ratio <= 1.3 },
        {
          target: "recall within 0.01 of a fresh build",
          measured: `${round(after.recall, 4)} beside ${round(anew.recall, 4)}`,
          met: loss <= 0.01,
        },
      ],
    };
  },
};

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

async function measure(store: Store, vectors: Vectors) {
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
