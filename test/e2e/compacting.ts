/** Compacting: by hand and by its schedule, with lost and bad messages, side by side, and with a damaged collection. */
import { createProducer } from "../../lib/clients/producer.ts";
import { createCollection, deleteCollection } from "../../lib/engine/catalog/collections.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { shardRunNote } from "../../lib/engine/shard/lease.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { type Deployed, dims, vectorOf } from "./deployed.ts";

export function compacting(deployed: Deployed): void {
  const create = async (name: string, shards = 1) =>
    (await createCollection(deployed.world, { name, dims, metric: "l2", shards })).collection;
  const manual = (collection: string) => deployed.answer("compactor", { source: "manual", collection });
  const count = async (collection: string) =>
    (await deployed.answer("query", { op: "count", collection, consistency: "bounded", maxAgeSeconds: 0 }))
      .count;

  test("events that ask for nothing it knows are refused", async () => {
    expect((await deployed.failure("compactor", {})).problems[0]!.field).toBe("source");
    expect((await deployed.failure("compactor", { source: "manual", dryRun: true })).message).toContain(
      '"dryRun"',
    );
    expect((await deployed.failure("compactor", { source: "migration" })).message).toContain("snapshot_path");
    expect((await deployed.failure("compactor", { source: "manual", collection: "absent" })).kind).toBe(
      "notFound",
    );
  });

  test("a bad message reaches the dead-letter queue with its reason while its neighbours succeed", async () => {
    await create("letters");
    await deployed.send("no JSON");
    await deployed.send('{"format":9}');
    await deployed.answer("producer", { collection: "letters", records: [{ id: "a", vector: vectorOf(1) }] });
    const run = await deployed.answer("compactor", { source: "scheduled" });
    expect(run).toMatchObject({ source: "scheduled", failed: 0, pending: 0, messages: { deadLettered: 2 } });
    const dead = await deployed.receive("deadLetterQueueUrl");
    expect(
      dead.map(({ Body, MessageAttributes }) => [Body, MessageAttributes!.reason!.StringValue]).sort(),
    ).toEqual([
      ["no JSON", "the message is not JSON"],
      ['{"format":9}', "message format 9; this version reads 1"],
    ]);
    expect(await deployed.receive("queueUrl")).toEqual([]);
    expect(await count("letters")).toBe(1);
  });

  test("a delta whose notification was lost is ingested; the run and the shard are noted", async () => {
    await create("lost");
    const { world } = deployed;
    const queue = { send: async () => {} };
    await produce({ ...world, queue }, { collection: "lost", records: [{ id: "a", vector: vectorOf(1) }] });
    expect(await manual("lost")).toMatchObject({
      shards: [{ collection: "lost", shard: 0, outcome: "done", version: 1, deltas: 1, rows: 1, pending: 0 }],
    });
    expect(await count("lost")).toBe(1);
    expect(await deployed.keys("lost/0/deltas/")).toEqual([]);
    expect(await world.leases.readNote(shardRunNote({ collection: "lost", shard: 0 }))).toMatchObject({
      source: "manual",
      outcome: "done",
      deltas: 1,
      version: 1,
      milliseconds: expect.any(Number),
    });
    expect(await manual("lost")).toMatchObject({ shards: [{ outcome: "nothing", version: 1 }] });
  });

  test("20 producers write 50 deltas each while two compactors run: every row is there exactly once", async () => {
    const collection = await create("crowd", 2);
    const names = { bucket: deployed.output("bucket"), queueUrl: deployed.output("queueUrl") };
    let writing = true;
    const writers = Array.from({ length: 20 }, async (_, writer) => {
      const producer = createProducer(names);
      for (let n = 0; n < 50; n++) {
        const record = { id: `${writer}-${n}`, vector: vectorOf(writer * 50 + n) };
        await producer.produce({ collection: "crowd", records: [record] });
      }
    });
    const compactors = [0, 1].map(async () => {
      const runs = [];
      while (writing) runs.push(await manual("crowd"));
      return runs;
    });
    await Promise.all(writers);
    writing = false;
    const runs = [...(await Promise.all(compactors)).flat(), await manual("crowd")];
    // Each delta was ingested by one run only.
    const ingested = runs.flatMap(({ shards }) => shards).reduce((sum, shard) => sum + shard.deltas, 0);
    expect(ingested).toBe(1_000);
    expect(await count("crowd")).toBe(1_000);
    const proofs = [await verify(deployed.world, collection, 0), await verify(deployed.world, collection, 1)];
    expect(proofs.flatMap(({ faults }) => faults)).toEqual([]);
    const ids = Array.from({ length: 1_000 }, (_, i) => `${Math.floor(i / 50)}-${i % 50}`);
    const { missing } = await deployed.answer("query", { op: "get", collection: "crowd", ids, include: [] });
    expect(missing).toEqual([]);
  });

  test("a damaged collection fails the run, which does the others first and says so", async () => {
    await create("damaged");
    await create("sound");
    for (const collection of ["damaged", "sound"]) {
      await deployed.answer("producer", { collection, records: [{ id: "a", vector: vectorOf(1) }] });
    }
    await deployed.replace("damaged/0/pointer.json", Buffer.from("{}"));
    await deployed.replace("nonsense/collection.json", Buffer.from("hello"));
    // One that has just started looks at everything; another would within ten minutes.
    await deployed.killProcesses("compactor");
    const failure = await deployed.failure("compactor", { source: "scheduled" });
    expect(failure).toMatchObject({
      kind: "corrupt",
      problems: [{ field: "damaged/0" }, { field: "collection nonsense" }],
    });
    expect(failure.message).toMatch(
      /^1 of \d+ shards and 1 other part failed; damaged\/0: corrupt: damaged\/0\/pointer\.json /,
    );
    expect(deployed.log("compactor")).toMatch(/"CompactionFaults":2/);
    expect(await count("sound")).toBe(1);
    expect(
      await deployed.world.leases.readNote(shardRunNote({ collection: "damaged", shard: 0 })),
    ).toMatchObject({
      outcome: "failed",
      error: { kind: "corrupt" },
    });
    await deleteCollection(deployed.world.store, "damaged");
    expect(await deleteCollection(deployed.world.store, "nonsense")).toBe(1);
    expect(await deployed.answer("compactor", { source: "scheduled" })).toMatchObject({
      failed: 0,
      faults: [],
    });
  });
}
