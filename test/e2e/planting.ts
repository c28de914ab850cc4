/** Values that no log may show, in calls, bodies and deltas from other hands, through every function and way in. */
import { encodeDelta } from "../../lib/core/format/delta.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { plantedBodies, plantedCalls, plantedRows } from "../hostile/planted.ts";
import { type Deployed, dims, json } from "./deployed.ts";

export function planting(deployed: Deployed): void {
  const collection = "planted";
  const shard = { collection, shard: 0 };

  test("calls are answered or refused, and no call meets a defect", async () => {
    const fields = { kind: "string", year: "number" } as const;
    await createCollection(deployed.world, { name: collection, dims, metric: "cosine", fields });
    const calls = plantedCalls(collection, dims);
    await deployed.answer(...calls[0]!);
    await deployed.answer("compactor", { source: "manual", collection });
    for (const [name, event] of calls) {
      const { value, failed } = await deployed.invoke(name, event);
      if (failed) expect(["invalid", "notFound"]).toContain(value.errorType);
      expect((await deployed.http(name, "/", json(event))).status).toBeLessThan(500);
    }
    for (const body of plantedBodies)
      expect((await deployed.http("query", "/", { method: "POST", body })).status).toBe(400);
  });

  test("rows that break a rule are damage to a strong read, and put aside by the compactor", async () => {
    const { collection: made } = await createCollection(deployed.world, {
      ...{ name: collection, dims, metric: "cosine" },
      fields: { kind: "string", year: "number" },
    });
    const { embeddingVersion } = made;
    for (const row of plantedRows(dims)) {
      const delta = deltaId(deployed.world.clock.ulid());
      const header = { collection, collectionId: made.id, shard: 0, embeddingVersion, dims };
      const written = { producer: "elsewhere", createdAtMs: deployed.world.clock.nowMs() };
      await deployed.replace(deltaKey(shard, delta), encodeDelta({ ...header, ...written }, [row]));
    }
    const strong = { op: "count", collection, consistency: "strong" };
    expect((await deployed.failure("query", strong)).kind).toBe("corrupt");
    const run = await deployed.answer("compactor", { source: "manual", collection });
    expect(run.shards[0].quarantined).toBe(plantedRows(dims).length);
    expect((await deployed.answer("query", strong)).count).toBe(1);
  });
}
