/**
 * A day's trickle in virtual time, a small delta a second, compacted every minute and merged every ten; and the same
 * rows as one bulk load. Write amplification is bytes written to the store per byte of deltas; requests are per 1,000
 * rows, by part, and priced as S3 does: the cost calculator takes its constants from here.
 */
import { prices } from "../../lib/core/policy/cost/prices.ts";
import { type CompactReport, compact } from "../../lib/engine/compact/compact.ts";
import type { TrafficCount } from "../../lib/engine/traffic.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import type { MemoryWorld } from "../../test/support/memory/world.ts";
import { gaussianMixture, type Vectors } from "./data.ts";
import { round } from "./measure.ts";
import type { Cell, Log, Scenario } from "./scenario.ts";
import { compactAll, emptyStore, far, produceRows, recordOf } from "./store.ts";

interface Size {
  /** Deltas: one a second. */
  readonly rows: number;
  readonly dims: number;
  readonly rowsPerDelta: number;
}

const ingestEverySeconds = 60;
const upkeepEverySeconds = 600;
const index = { M: 8, efConstruction: 20 };

export const trickle: Scenario<Size> = {
  name: "trickle",
  about: "a delta a second for a day in virtual time, and a bulk load: write amplification, requests",
  full: { rows: 86_400, dims: 32, rowsPerDelta: 1 },
  tiny: { rows: 130, dims: 8, rowsPerDelta: 1 },
  async run(size, log) {
    const all = size.rows * size.rowsPerDelta;
    const vectors = gaussianMixture({ rows: all, dims: size.dims, queries: 0 });
    const { parts, merges } = await trickled(vectors, size, log);
    const { delta, rest } = await loadedInBulk(vectors);
    const whole = sum(delta, rest);
    const row = (name: string, traffic: Counted, base: number): Cell[] => [
      name,
      traffic.putsAndLists,
      traffic.gets,
      round((traffic.putsAndLists * prices.s3PutPerMillion + traffic.gets * prices.s3GetPerMillion) / 1e6),
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
            "PUT and LIST",
            "GET",
            "S3 $",
            "requests",
            "per 1,000 rows",
            "written B/row",
            "read B/row",
            "written / delta bytes",
          ],
          rows: [
            row("trickle: produce", parts.produce, base),
            row("trickle: ingest", parts.ingest, base),
            row("trickle: upkeep", parts.upkeep, base),
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

/** The day's trickle, by part. */
async function trickled(vectors: Vectors, { rows, rowsPerDelta }: Size, log: Log) {
  const store = await emptyStore(vectors, { index });
  const { world, count } = counted(store.world);
  const parts = { produce: nothing(), ingest: nothing(), upkeep: nothing() };
  let merges = 0;
  for (let second = 1; second <= rows; second++) {
    world.clock.advance(1000);
    const first = (second - 1) * rowsPerDelta;
    const records = Array.from({ length: rowsPerDelta }, (_, i) => recordOf(vectors, first + i));
    await count(parts.produce, () => produce(world, { collection: "bench", records }));
    if (second % ingestEverySeconds === 0)
      await count(parts.ingest, () => compact(world, { ingest: true, upkeep: false, deadlineMs: far }));
    if (second % upkeepEverySeconds === 0 || second === rows)
      await count(parts.upkeep, async () => {
        merges += mergesIn(await compact(world, { ingest: false, upkeep: true, deadlineMs: far }));
      });
    if (second % 7200 === 0) log(`${second / 3600} h`);
  }
  return { parts, merges };
}

/** The same rows as one load: writing the deltas, and all that follows. */
async function loadedInBulk(vectors: Vectors) {
  const store = await emptyStore(vectors, { index });
  const { world, count } = counted(store.world);
  const [delta, rest] = [nothing(), nothing()];
  await count(delta, () => produceRows({ ...store, world }, vectors, { start: 0, limit: vectors.rows }));
  await count(rest, () => compactAll({ ...store, world }));
  return { delta, rest };
}

/** Requests are also told apart by S3's price classes; DELETE is free. */
interface Counted extends TrafficCount {
  readonly putsAndLists: number;
  readonly gets: number;
}
type Counting = { -readonly [key in keyof Counted]: number };
const nothing = (): Counting => ({ requests: 0, bytesRead: 0, bytesWritten: 0, putsAndLists: 0, gets: 0 });
function add(to: Counting, more: Counted): Counting {
  for (const key of Object.keys(to) as (keyof Counted)[]) to[key] += more[key];
  return to;
}
const sum = (a: Counted, b: Counted): Counted => add(add(nothing(), a), b);

const getMethods: readonly PropertyKey[] = ["get", "head"];
const putMethods: readonly PropertyKey[] = ["put", "putFile", "list", "listLevel"];

/** The world, with its store's requests counted by kind. A list counts once: pages of 1,000 are not reached here. */
function counted(inner: MemoryWorld) {
  const kinds = { putsAndLists: 0, gets: 0 };
  const store = new Proxy(inner.store, {
    get(target, name) {
      const method = Reflect.get(target, name) as (...given: unknown[]) => unknown;
      return (...given: unknown[]) => {
        if (getMethods.includes(name)) kinds.gets++;
        if (putMethods.includes(name)) kinds.putsAndLists++;
        return method.apply(target, given);
      };
    },
  });
  return {
    world: { ...inner, store },
    async count(to: Counting, work: () => Promise<unknown>): Promise<void> {
      const [before, traffic] = [{ ...kinds }, inner.traffic.snapshot()];
      await work();
      add(to, {
        ...inner.traffic.since(traffic),
        putsAndLists: kinds.putsAndLists - before.putsAndLists,
        gets: kinds.gets - before.gets,
      });
    },
  };
}

const mergesIn = ({ shards }: CompactReport): number =>
  shards.reduce((total, { merge }) => total + (merge?.merges.length ?? 0), 0);
