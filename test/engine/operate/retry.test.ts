/**
 * Putting back what was put aside: a token's answer holds its writes, or says why not, at every moment; and the rows come back
 * to the place in the order of writes that they had.
 */
import { decodeDelta } from "../../../lib/core/format/delta.ts";
import { deltaKey, quarantinedDeltaKey, quarantineReasonKey } from "../../../lib/core/format/keys.ts";
import { corrupt } from "../../../lib/core/model/errors.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { listQuarantine, quarantine, retryQuarantined } from "../../../lib/engine/shard/quarantine.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { Crash, type EffectHook, effects, preconditionFailed } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const name = "docs";
const ref = { collection: name, shard: 0 };
const hour = 3_600_000;

async function prepare(ordering: "arrival" | "source" = "arrival") {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims: 2, metric: "l2", ordering });
  const write = async (id: string, document: string, version?: number) => {
    const record = { id, vector: [1, 2], document, ...(version === undefined ? {} : { version }) };
    const { token, deltas } = await produce(world, { collection: name, records: [record] });
    return { token: token!, delta: deltas[0]!.delta };
  };
  const aside = (delta: string) =>
    quarantine(world, ref, {
      delta: deltaId(delta),
      error: corrupt(deltaKey(ref, deltaId(delta)), "a reason that goes away"),
    });
  return { world, collection, write, aside };
}
const ingest = (world: World) =>
  compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + hour });
const readerOf = (world: MemoryWorld) =>
  new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });

/** What a read with the token says: the document, or why there is none. */
async function told(world: MemoryWorld, token: string, reader = readerOf(world)): Promise<string> {
  try {
    const { records } = await reader.get({ collection: name, ids: ["a"], atLeast: [token] });
    return records[0]?.document ?? "nothing";
  } catch (error) {
    return (error as Error).message.includes("is in quarantine") ? "in quarantine" : String(error);
  } finally {
    await reader.close();
  }
}

test("a token's answer holds its write or says why not, at every effect of putting aside, putting back and merging", async () => {
  const { world, write, aside } = await prepare();
  await write("other", "x");
  await ingest(world);
  const { token, delta } = await write("a", "written");
  const seen: string[] = [];
  const looking: EffectHook = async () => {
    seen.push(await told(world, token));
    return undefined;
  };
  await quarantine(effects(world, looking), ref, { delta, error: corrupt("x", "y") });
  const first = await retryQuarantined(effects(world, looking), ref, delta);
  // Once more, under its second name.
  await quarantine(effects(world, looking), ref, { delta: first, error: corrupt("x", "y") });
  const second = await retryQuarantined(effects(world, looking), ref, first);
  await ingest(effects(world, looking));
  // Until the version has forgotten that it ever applied it.
  for (let i = 0; i < 2; i++) {
    await write("other", `y${i}`);
    await ingest(effects(world, looking));
  }
  expect([...new Set(seen)].sort()).toEqual(["in quarantine", "written"]);
  expect(seen.length).toBeGreaterThan(60);
  expect(await told(world, token)).toBe("written");
  expect(new Set([delta, first, second]).size).toBe(3);
  expect(await listQuarantine(world.store, ref)).toEqual([]);
  await aside(delta); // It is long gone: nothing happens.
  expect(await told(world, token)).toBe("written");
});

test("a retry that dies at any effect, before or after it, is finished by the next one", async () => {
  let ended = false;
  let points = 0;
  for (let index = 1; !ended; index++) {
    for (const when of ["before", "after"] as const) {
      const { world, collection, write, aside } = await prepare();
      const { token, delta } = await write("a", "written");
      await aside(delta);
      const dying = effects(world, (effect, moment) => {
        if (effect.index === index && moment === when) throw new Crash(when);
        return undefined;
      });
      const died = await retryQuarantined(dying, ref, delta).then(
        () => false,
        (error) => error instanceof Crash,
      );
      if (!died) {
        ended = true;
        break;
      }
      points += 1;
      expect(["in quarantine", "written"]).toContain(await told(world, token));
      await ingest(world);
      expect(["in quarantine", "written"]).toContain(await told(world, token));
      await retryQuarantined(world, ref, delta).catch((error: Error) =>
        expect(error.message).toMatch("retried as"),
      );
      await ingest(world);
      expect(await told(world, token)).toBe("written");
      expect(await listQuarantine(world.store, ref)).toEqual([]);
      expect((await verify(world, collection, 0)).faults).toEqual([]);
    }
  }
  expect(points).toBeGreaterThanOrEqual(10);
});

test.each([1, 2, 3, 4, 5])(
  "a compactor that slept before effect %i of putting a delta aside leaves the trace of its retry as it is",
  async (index) => {
    const { world, write, aside } = await prepare();
    const { token, delta } = await write("a", "written");
    const sleepy = effects(world, async (effect, moment) => {
      if (effect.index !== index || moment !== "before") return undefined;
      expect(await aside(delta)).toBe("moved");
      await retryQuarantined(world, ref, delta);
      return undefined;
    });
    await quarantine(sleepy, ref, { delta, error: corrupt("x", "y") });
    expect(sleepy.effects.begun.length).toBeGreaterThanOrEqual(index);
    expect(await told(world, token)).toBe("written");
    await ingest(world);
    expect(await told(world, token)).toBe("written");
  },
);

test("a second retry says under which name it was put back; damaged and foreign reasons are reasons still", async () => {
  const { world, write, aside } = await prepare();
  const { token, delta } = await write("a", "written");
  await aside(delta);
  const again = await retryQuarantined(world, ref, delta);
  await expect(retryQuarantined(world, ref, delta)).rejects.toMatchObject({
    kind: "notFound",
    message: `docs/0 has no quarantined delta ${delta} (it was retried as ${again})`,
  });
  const trace = JSON.parse(world.store.bytes(quarantineReasonKey(ref, delta))!.toString());
  expect(trace).toMatchObject({
    format: 1,
    delta,
    retriedAs: again,
    reason: expect.any(String),
    retriedAt: expect.any(String),
  });
  await aside(again);
  for (const body of ["", "{", "null", '{"reason":7}', '{"retriedAs":"x"}']) {
    await world.store.put(quarantineReasonKey(ref, again), Buffer.from(body));
    expect(await told(world, token)).toBe("in quarantine");
    expect(await listQuarantine(world.store, ref)).toMatchObject([
      { delta: again, reason: expect.stringMatching(/^unknown/) },
    ]);
  }
  await retryQuarantined(world, ref, again);
  expect(await told(world, token)).toBe("written");
});

test.each([1, 2])("a retry whose PUT number %i is refused for no reason can be repeated", async (number) => {
  const { world, write, aside } = await prepare();
  const { token, delta } = await write("a", "written");
  await aside(delta);
  let puts = 0;
  const refusing = effects(world, ({ operation }, moment) =>
    operation === "put" && moment === "before" && ++puts === number ? preconditionFailed : undefined,
  );
  await expect(retryQuarantined(refusing, ref, delta)).rejects.toMatchObject({ kind: "uncertain" });
  expect(await told(world, token)).toBe("in quarantine");
  await retryQuarantined(world, ref, delta);
  expect(await told(world, token)).toBe("written");
});

test("a token's answer holds its write or is an error, whatever byte of the trace is damaged", async () => {
  const { world, write, aside } = await prepare();
  const { token, delta } = await write("a", "written");
  await aside(delta);
  await retryQuarantined(world, ref, delta);
  const key = quarantineReasonKey(ref, delta);
  const trace = world.store.bytes(key)!;
  const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  const say = () => reader.get({ collection: name, ids: ["a"], atLeast: [token] });
  const damages = [...trace.keys()].map((i) => {
    const flipped = Buffer.from(trace);
    flipped[i]! ^= 1;
    return flipped;
  });
  for (const damaged of [...damages, Buffer.alloc(0), trace.subarray(0, 40)]) {
    await world.store.put(key, damaged);
    await expect(say()).rejects.toMatchObject({ kind: "corrupt" });
  }
  await world.store.put(key, trace);
  expect((await say()).records[0]?.document).toBe("written");
  await reader.close();
});

test("a token finds its write long after the retry: whatever upkeep deletes, the trace stays", async () => {
  const { world, write, aside } = await prepare();
  const { token, delta } = await write("a", "written");
  await aside(delta);
  await retryQuarantined(world, ref, delta);
  for (let day = 0; day < 40; day++) {
    world.clock.advance(24 * hour);
    await write("other", `day ${day}`);
    await compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + hour });
  }
  expect(await told(world, token)).toBe("written");
  expect(world.store.bytes(quarantineReasonKey(ref, delta))).not.toBeNull();
});

test("a copy that is there again is put back again, although its reason names where it was put before", async () => {
  const { world, collection, write, aside } = await prepare();
  const { token, delta } = await write("a", "written");
  const copy = world.store.bytes(deltaKey(ref, delta))!;
  await aside(delta);
  const first = await retryQuarantined(world, ref, delta);
  await world.store.delete([deltaKey(ref, first)]);
  await world.store.put(quarantinedDeltaKey(ref, delta), copy);
  const second = await retryQuarantined(world, ref, delta);
  expect(second > first).toBe(true);
  expect(await told(world, token)).toBe("written");
  await ingest(world);
  expect(await told(world, token)).toBe("written");
  expect((await verify(world, collection, 0)).faults).toEqual([]);
});

test("a retry is as old as what was written first: beyond the horizon it comes back", async () => {
  const { world, write, aside } = await prepare();
  const { delta } = await write("a", "written");
  await aside(delta);
  world.clock.advance(31 * 24 * hour);
  const again = await retryQuarantined(world, ref, delta);
  const [report] = (await ingest(world)).shards;
  expect(report).toMatchObject({ ingest: { deltas: 0, quarantined: 1 } });
  expect((await listQuarantine(world.store, ref))[0]).toMatchObject({
    delta: again,
    reason: expect.stringMatching(/beyond the horizon/),
  });
});

test.each(["arrival", "source"] as const)(
  "a retried write beats nothing that was written after it (%s)",
  async (ordering) => {
    const { world, collection, write, aside } = await prepare(ordering);
    const version = ordering === "source" ? 7 : undefined;
    // In one millisecond, or of one version: only their deltas' names order them.
    const first = await write("a", "first", version);
    const second = await write("a", "second", version);
    const third = await write("b", "third", version);
    const fourth = await write("b", "fourth", version);
    for (const { delta } of [first, fourth]) await aside(delta);
    await ingest(world);
    for (const { delta } of [first, fourth]) await retryQuarantined(world, ref, delta);
    const documents = async () => {
      const reader = readerOf(world);
      const { records } = await reader.get({ collection: name, ids: ["a", "b"], consistency: "strong" });
      await reader.close();
      return records.map(({ document }) => document);
    };
    expect(await documents()).toEqual(["second", "fourth"]);
    await ingest(world);
    expect(await documents()).toEqual(["second", "fourth"]);
    expect((await verify(world, collection, 0)).faults).toEqual([]);
    expect(second.delta < third.delta).toBe(true);
  },
);

test("a delta that cannot be read is put back as it is; a name from the future gives way to a new one", async () => {
  const { world, write, aside } = await prepare("source");
  const bad = deltaId(world.clock.ulid());
  await world.store.put(deltaKey(ref, bad), Buffer.from("not an arrow file"));
  const { delta } = await write("a", "from tomorrow", 1);
  const future = `${ulidFloor(Date.UTC(2300, 0, 1)).slice(0, 25)}1`;
  await world.store.copy(deltaKey(ref, delta), deltaKey(ref, deltaId(future)));
  await world.store.delete([deltaKey(ref, delta)]);
  await ingest(world);
  expect((await listQuarantine(world.store, ref)).map(({ delta }) => delta)).toEqual([bad, future]);
  const again = await retryQuarantined(world, ref, bad);
  expect(world.store.bytes(deltaKey(ref, again))!.toString()).toBe("not an arrow file");
  const present = await retryQuarantined(world, ref, deltaId(future));
  const [report] = (await ingest(world)).shards;
  expect(report).toMatchObject({ ingest: { deltas: 1, quarantined: 1 } });
  expect(present < future).toBe(true);
  expect(await aside(future)).toBe("gone");
});

/** A world whose GETs of the key, those that are accepted, counted from 1, flip one bit: of the operation of the first row. */
function flipping(world: MemoryWorld, key: string, isFlipped: (get: number) => boolean): World {
  let gets = 0;
  return effects(world, (effect, moment) => {
    if (moment !== "after" || effect.operation !== "get" || effect.key !== key || !isFlipped(++gets)) return;
    const body = world.store.bytes(key)!;
    return { kind: "flip", at: (body.indexOf("upsert") + gets) / body.length };
  });
}

test("a bit flipped in one GET costs no delta that is put back: the copy goes only for its very bytes", async () => {
  const { world, write, aside } = await prepare();
  const { token, delta } = await write("a", "written");
  const key = quarantinedDeltaKey(ref, delta);
  await aside(delta);
  await expect(
    retryQuarantined(
      flipping(world, key, () => true),
      ref,
      delta,
    ),
  ).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringMatching(/01.*\.arrow was read twice, with different bytes; repeat the call/),
  });
  expect(world.store.keys("docs/0/deltas/")).toEqual([]);
  expect(await told(world, token)).toBe("in quarantine");

  const again = await retryQuarantined(
    flipping(world, key, (get) => get === 1),
    ref,
    delta,
  );
  const body = world.store.bytes(deltaKey(ref, again))!;
  expect(decodeDelta(body, { key: "x", delta: again })).toMatchObject({ rows: [{ delta, id: "a" }] });
  expect(world.store.bytes(key)).toBeNull();
  expect((await ingest(world)).shards).toMatchObject([{ ingest: { deltas: 1, quarantined: 0 } }]);
  expect(await told(world, token)).toBe("written");
});

test("a delta that is damaged at rest is put back as it is, though a bit flips in the first GET", async () => {
  const { world, write, aside } = await prepare();
  const { delta } = await write("a", "written");
  const body = world.store.bytes(deltaKey(ref, delta))!;
  body[body.indexOf("written")]! ^= 4;
  await aside(delta);
  const [key, damaged] = [quarantinedDeltaKey(ref, delta), Buffer.from(body)];
  const flipsFirst = flipping(world, key, (get) => get === 1);
  await expect(retryQuarantined(flipsFirst, ref, delta)).rejects.toMatchObject({ kind: "unavailable" });
  const again = await retryQuarantined(world, ref, delta);
  expect(world.store.bytes(deltaKey(ref, again))).toEqual(damaged);
});

test("a former name proves itself, and is never later than the name", async () => {
  const { world, write, aside } = await prepare();
  const { delta } = await write("a", "written");
  await aside(delta);
  const again = await retryQuarantined(world, ref, delta);
  const body = world.store.bytes(deltaKey(ref, again))!;
  const at = { key: "x", delta: again };
  expect(decodeDelta(body, at)).toMatchObject({ header: { writtenAs: delta }, rows: [{ delta, row: 0 }] });
  // In the footer, which is what is read.
  const from = body.lastIndexOf(delta);
  for (let i = from; i < from + 26 + 1 + 64; i++) {
    const flipped = Buffer.from(body);
    flipped[i]! ^= 1;
    expect(() => decodeDelta(flipped, at)).toThrow(/siltstone\.writtenAs is .* does not prove itself/);
  }
  expect(() => decodeDelta(body, { key: "x", delta: deltaId(ulidFloor(0)) })).toThrow(
    /which is later than its name/,
  );
  expect(world.store.bytes(quarantinedDeltaKey(ref, delta))).toBeNull();
});
