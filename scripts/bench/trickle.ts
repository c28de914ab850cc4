/**
 * A day's trickle in virtual time, a small delta a second, compacted every minute and merged every ten; and the same
 * rows as one bulk load. Write amplification is bytes written to the store per byte of deltas; requests are per 1,000
 * rows, by part: the cost calculator takes its constants from here.
 */
import { type CompactReport, compact } from "../../lib/engine/compact.ts";
import { produce } from "../../lib/engine/produce.ts";
import type { TrafficCount } from "../../lib/engine/traffic.ts";
import { gaussianMixture } from "./data.ts";
import { round } from "./measure.ts";
import type { Cell, Scenario } from "./scenario.ts";
import { compactAll, emptyStore, far, produceRows, recordOf } from "./store.ts";

interface Size {
  /** Deltas: one a second. */
  readonly rows: number;
  readonly dims: number;
  readonly rowsPerDelta: number;
}

const ingestEverySeconds = 60;
const upkeepEverySeconds = 600;

export const trickle: Scenario<Size> = {
  name: "trickle",
  about: "a delta a second for a day in virtual time, and a bulk load: write amplification, requests",
  full: { rows: 86_400, dims: 32, rowsPerDelta: 1 },
  tiny: { rows: 130, dims: 8, rowsPerDelta: 1 },
  async run(size, log) {
    const all = size.rows * size.rowsPerDelta;
    const vectors = gaussianMixture({ rows: all, dims: size.dims, queries: 0 });
    const store = await emptyStore(vectors, { index: { M: 8, efConstruction: 20 } });
    const { world } = store;
    const parts = { produce: noTraffic(), ingest: noTraffic(), upkeep: noTraffic() };
    const measured = async (part: keyof typeof parts, work: () => Promise<unknown>) => {
      const before = world.traffic.snapshot();
      await work();
      const since = world.traffic.since(before);
      for (const key of ["requests", "bytesRead", "bytesWritten"] as const) parts[part][key] += since[key];
    };
    let merges = 0;
    for (let second = 1; second <= size.rows; second++) {
      world.clock.advance(1000);
      const first = (second - 1) * size.rowsPerDelta;
      const records = Array.from({ length: size.rowsPerDelta }, (_, i) => recordOf(vectors, first + i));
      await measured("produce", () => produce(world, { collection: "bench", records }));
      if (second % ingestEverySeconds === 0)
        await measured("ingest", () => compact(world, { ingest: true, upkeep: false, deadlineMs: far }));
      if (second % upkeepEverySeconds === 0 || second === size.rows)
        await measured("upkeep", async () => {
          merges += mergesIn(await compact(world, { ingest: false, upkeep: true, deadlineMs: far }));
        });
      if (second % 7200 === 0) log(`${second / 3600} h`);
    }
    const bulk = await emptyStore(vectors, { index: { M: 8, efConstruction: 20 } });
    await produceRows(bulk, vectors, { start: 0, limit: all });
    const delta = { ...bulk.world.traffic.snapshot() };
    await compactAll(bulk);
    const whole = bulk.world.traffic.snapshot();
    const rest = bulk.world.traffic.since(delta);
    const row = (name: string, traffic: TrafficCount, base: number): Cell[] => [
      name,
      traffic.requests,
      round((traffic.requests / all) * 1000, 4),
      Math.round(traffic.bytesWritten / all),
      Math.round(traffic.bytesRead / all),
      round(traffic.bytesWritten / base),
    ];
    const base = parts.produce.bytesWritten;
    const total = sum(parts.produce, sum(parts.ingest, parts.upkeep));
    return {
      tables: [
        {
          title: `${all} rows × ${size.dims}, ${size.rowsPerDelta} a second; ${merges} merges`,
          columns: [
            "part",
            "requests",
            "per 1,000 rows",
            "written B/row",
            "read B/row",
            "written / delta bytes",
          ],
          rows: [
            row("trickle: produce", parts.produce, base),
            row("trickle: ingest", parts.ingest, base),
            row("trickle: merge and collect", parts.upkeep, base),
            row("trickle: whole", total, base),
            row("bulk: produce", delta, delta.bytesWritten),
            row("bulk: compact", rest, delta.bytesWritten),
            row("bulk: whole", whole, delta.bytesWritten),
          ],
        },
      ],
      checks: [],
    };
  },
};

type Counted = { -readonly [key in keyof TrafficCount]: number };
const noTraffic = (): Counted => ({ requests: 0, bytesRead: 0, bytesWritten: 0 });
const sum = (a: TrafficCount, b: TrafficCount): TrafficCount => ({
  requests: a.requests + b.requests,
  bytesRead: a.bytesRead + b.bytesRead,
  bytesWritten: a.bytesWritten + b.bytesWritten,
});
const mergesIn = ({ shards }: CompactReport): number =>
  shards.reduce((total, { merge }) => total + (merge?.merges.length ?? 0), 0);
