/** Deltas from other hands: well-formed, and yet not what our producer would let through. */
import { encodeDelta } from "../../../lib/core/format/delta.ts";
import { deltaKey } from "../../../lib/core/format/keys.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { listQuarantine } from "../../../lib/engine/shard/quarantine.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const good = { id: "a", version: 1, vector: new Float32Array([1, 2]), document: null, metadata: null };

test.each([
  [{ ...good, vector: new Float32Array([1e30, 1e30]) }, /its squared norm .* overflow/],
  [{ ...good, vector: new Float32Array([0, 0]) }, /too close to zero for cosine/],
  [{ ...good, metadata: '{"year":"1998"}' }, /metadata\.year/],
  [{ ...good, id: "line\nbreak" }, /control character/],
])(
  "a row that breaks the collection's rules puts its delta aside, with the reason: %#",
  async (row, reason) => {
    const world = memoryWorld();
    const ref = { collection: "docs", shard: 0 };
    const { collection } = await createCollection(world, {
      name: "docs",
      dims: 2,
      metric: "cosine",
      fields: { year: "number" },
    });
    const put = async (rows: (typeof row)[]) => {
      const delta = deltaId(world.clock.ulid());
      const header = {
        collection: "docs",
        collectionId: collection.id,
        shard: 0,
        embeddingVersion: collection.embeddingVersion,
        dims: 2,
        producer: "elsewhere",
        createdAtMs: world.clock.nowMs(),
      };
      await world.store.put(deltaKey(ref, delta), encodeDelta(header, rows));
      return delta;
    };
    const bad = await put([good, row]);
    await put([good]);
    const request = { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e6 };
    const report = await compact(world, request);
    expect(report.shards[0]!.ingest).toMatchObject({ outcome: "done", deltas: 1, rows: 1, quarantined: 1 });
    expect(await listQuarantine(world.store, ref)).toMatchObject([
      { delta: bad, reason: expect.stringMatching(reason) },
    ]);
  },
);
