/** What takes numbers: a long backlog, and many writes that are read back at once. */
import pLimit from "p-limit";
import { encodeDelta } from "../../lib/core/format/delta.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { type Deployed, dims, vectorOf } from "./deployed.ts";

/** All of them by `npm run test:wide`; a tenth with the other tests. */
const share = process.env.WIDE === "1" ? 1 : 0.1;
const deltas = 5_000 * share;
/** In fours. */
const pairs = 1_000 * share;

export function numbers(deployed: Deployed): void {
  const compactNow = (collection: string) => deployed.answer("compactor", { source: "manual", collection });

  test(`${deltas} waiting deltas that no message names drain, in runs that end in time (CMP-7)`, async () => {
    const name = "backlog";
    const { collection } = await createCollection(deployed.world, { name, dims, metric: "l2" });
    const { store, clock } = deployed.world;
    const limit = pLimit(32);
    const put = async (n: number) => {
      const delta = deltaId(clock.ulid());
      const header = {
        ...{ collection: name, collectionId: collection.id, shard: 0, dims, producer: "" },
        ...{ embeddingVersion: collection.embeddingVersion, createdAtMs: clock.nowMs() },
      };
      const row = { id: `r${n}`, version: clock.nowMs(), vector: new Float32Array(vectorOf(n)) };
      const body = encodeDelta(header, [{ ...row, document: null, metadata: null }]);
      await store.put(deltaKey({ collection: name, shard: 0 }, delta), body, { ifAbsent: true });
    };
    await Promise.all(Array.from({ length: deltas }, (_, n) => limit(put, n)));
    const backlog = async () => (await deployed.keys(`${name}/0/deltas/`)).length;
    for (let runs = 1; (await backlog()) > 0; runs++) {
      expect(runs).toBeLessThanOrEqual(20);
      expect(await compactNow(name)).toMatchObject({ failed: 0 });
    }
    const strong = { op: "count", collection: name, consistency: "strong" };
    expect(await deployed.answer("query", strong)).toMatchObject({ count: deltas, deltasOverlaid: 0 });
    expect((await verify(deployed.world, collection, 0)).faults).toEqual([]);
  }, 300_000);

  test(`${pairs} writes, each read back with its token at once, compacted or not: no miss (ING-8)`, async () => {
    const collection = "pairs";
    await createCollection(deployed.world, { name: collection, dims, metric: "l2", shards: 2 });
    const limit = pLimit(2);
    let overlaid = 0;
    let done = 0;
    const pair = async (n: number) => {
      // A quarter are later writes of a record that is there, and some of these are deletes.
      const id = `r${n % 4 === 3 ? n - 3 : n}`;
      const isDelete = n % 8 === 7;
      const document = `document ${n}`;
      const write = isDelete ? { deletes: [id] } : { records: [{ id, vector: vectorOf(n), document }] };
      const { token } = await deployed.answer("producer", { collection, ...write });
      const answer = await deployed.answer("query", { op: "get", collection, ids: [id], atLeast: token });
      overlaid += answer.deltasOverlaid > 0 ? 1 : 0;
      const isSeen = isDelete ? answer.missing[0] === id : answer.records[0]?.document === document;
      done += 1;
      if (done % (pairs / 10) === 0) await compactNow(collection);
      if (!isSeen) throw new Error(`write ${n} of ${id} was not seen: ${JSON.stringify(answer)}`);
    };
    // Fours in their order: later writes of a record follow its first.
    const fours = Array.from({ length: pairs / 4 }, (_, four) =>
      limit(async () => {
        for (const n of [0, 1, 2, 3]) await pair(4 * four + n);
      }),
    );
    await Promise.all(fours);
    expect(overlaid).toBeGreaterThan(pairs / 2);
    const { count } = await deployed.answer("query", {
      ...{ op: "count", collection, consistency: "strong" },
    });
    expect(count).toBe((pairs / 4) * 3 - Math.floor(pairs / 8));
  }, 300_000);
}
