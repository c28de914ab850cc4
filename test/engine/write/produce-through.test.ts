/** I13: a write by an alias is acknowledged on its writing side, whatever moves, freezes, dies or is late meanwhile. */
import { decodeToken } from "../../../lib/core/format/token.ts";
import { withBarrier, withoutBarrier, withWriting } from "../../../lib/core/model/alias.ts";
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import { changeAlias, deleteAlias, mustReadAlias } from "../../../lib/engine/catalog/aliases.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { moveWriting } from "../../../lib/engine/catalog/move-writing.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { makeIoSynchronous } from "../../sim/synchronous-io.ts";
import { Crash, effects } from "../../support/effects.ts";
import { aliasedWorld, drainOver, move, notes, readAll, source, target } from "./alias-world.ts";

let undo = (): void => undefined;
beforeAll(() => {
  undo = makeIoSynchronous();
});
afterAll(() => undo());

const write = (world: World, id: string, document: string, collection = "notes") =>
  produce(world, { collection, records: [{ id, vector: [1, 2], document }] });
const barrier = async (world: World) => {
  const deadlineMs = world.clock.nowMs() + 10_000;
  return changeAlias(world, notes, (alias, by) => withBarrier(alias, "target", deadlineMs, by));
};
const lift = (world: World) => changeAlias(world, notes, withoutBarrier);
const requests = async (world: World, call: (world: World) => Promise<unknown>) => {
  const watched = effects(world, () => undefined);
  await call(watched);
  return watched.effects.begun
    .filter(({ port }) => port === "store")
    .map(({ operation, key }) => `${operation} ${key.replace(/[0-9A-Z]{26}/, "ULID")}`);
};

test("a write to a collection costs what it did: its configuration, and its deltas; by an alias four requests more", async () => {
  const world = await aliasedWorld();
  expect(await requests(world, (world) => write(world, "a", "1", source))).toEqual([
    `get ${source}/collection.json`,
    `put ${source}/0/deltas/ULID.arrow`,
  ]);
  expect(await requests(world, (world) => write(world, "a", "2"))).toEqual([
    "get notes/collection.json",
    "get notes/alias.json",
    `get ${source}/collection.json`,
    `put ${source}/0/deltas/ULID.arrow`,
    "get notes/alias.json",
  ]);
});

test("the answer and its token name the alias, the side and the revision", async () => {
  const world = await aliasedWorld();
  const answer = await write(world, "a", "1");
  expect(answer).toMatchObject({ alias: { name: "notes", collection: source, side: "source", revision: 2 } });
  expect(decodeToken(answer.token)).toMatchObject({ alias: "notes", collection: source });
  expect(await readAll(world, ["a"], answer.token!)).toEqual({ a: "1" });
  const plain = await write(world, "a", "1", source);
  expect(plain).not.toHaveProperty("alias");
  expect(plain.token).toMatch(/^w2\./);
  await expect(write(world, "a", "1", "other")).rejects.toMatchObject({
    kind: "notFound",
    message: expect.stringContaining("collection other does not exist"),
  });
});

const moves = { "with a barrier that is drained": undefined, "at once": null } as const;
test.each(Object.keys(moves) as (keyof typeof moves)[])(
  "the writing side moves %s, there and back, at every effect of a write: it is acknowledged where the alias leads, and nothing before it is lost",
  async (how) => {
    for (let index = 1, isOver = false; !isOver; index++) {
      const world = await aliasedWorld({ shards: [1, 3] });
      const before = await write(world, "before", "1");
      await write(world, "a", "old");
      isOver = true;
      const slow = effects(world, async (effect, moment) => {
        if (effect.index !== index || moment !== "before") return undefined;
        isOver = false;
        const drain = how === "at once" ? null : drainOver(world);
        await move(world, "target", drain);
        if (index % 2 === 0) await move(world, "source", drain);
        return undefined;
      });
      const answer = await write(slow, "a", "new");
      const { alias } = await mustReadAlias(world.store, "notes");
      expect(answer.alias).toMatchObject({ side: alias.writing, revision: alias.revision });
      const kept = how === "at once" && alias.writing === "target" ? {} : { before: "1" };
      expect(await readAll(world, ["a", "before"])).toEqual({ a: "new", ...kept });
      expect(await readAll(world, ["a"], answer.token!)).toEqual({ a: "new" });
      if (how !== "at once") expect(await readAll(world, ["before"], before.token!)).toEqual({ before: "1" });
      expect(index).toBeLessThan(20);
    }
  },
);

test("a barrier at one effect that ends at another: a write that was answered is there, with what was answered before it", async () => {
  for (const end of ["moved", "lifted"] as const)
    for (let set = 1; set < 10; set++)
      for (let ended = set; ended < 14; ended++) {
        const world = await aliasedWorld({ shards: [2, 1] });
        await write(world, "before", "1");
        let barred: Awaited<ReturnType<typeof barrier>> | null = null;
        const slow = effects(world, async ({ index, port }, moment) => {
          if (moment === "before" && index === set) barred = await barrier(world);
          // Time passes by the writer's sleeping alone.
          if (moment !== "after" || index < ended || barred === null || port === "queue") return undefined;
          const current = await mustReadAlias(world.store, "notes");
          if (current.alias.barrier === null) return undefined;
          if (end === "lifted") await lift(world);
          else {
            await drainOver(world)(current.alias.source, current.alias.target!);
            await changeAlias(world, notes, (alias, by) => withWriting(alias, "target", by));
          }
          return undefined;
        });
        const answer = await write(slow, "a", "new");
        const { alias } = await mustReadAlias(world.store, "notes");
        if (alias.barrier !== null) continue;
        expect(await readAll(world, ["a", "before"])).toEqual({ a: "new", before: "1" });
        expect(await readAll(world, ["a"], answer.token!)).toEqual({ a: "new" });
      }
});

test("a producer that slept for hours between its PUT and the second look is told to repeat the call, once the side has moved", async () => {
  const world = await aliasedWorld();
  let looks = 0;
  const slow = effects(world, async ({ operation, key }, moment) => {
    if (operation !== "get" || key !== "notes/alias.json" || moment !== "before" || ++looks !== 2)
      return undefined;
    await move(world, "target", null);
    world.clock.advance(3 * 3_600_000);
    return undefined;
  });
  await expect(write(slow, "a", "1")).rejects.toMatchObject({
    kind: "uncertain",
    message: expect.stringContaining("begun over 15 minutes ago"),
  });
  expect(await readAll(world, ["a"])).toEqual({});
  // Where the side has not moved, the time that passed is nothing to the write.
  looks = 0;
  const asleep = effects(world, async ({ operation, key }, moment) => {
    if (operation === "get" && key === "notes/alias.json" && moment === "before" && ++looks === 2)
      world.clock.advance(3 * 3_600_000);
    return undefined;
  });
  await write(asleep, "a", "2");
  expect(await readAll(world, ["a"])).toEqual({ a: "2" });
});

test("a producer that dies at any effect, while the side moves at any other, leaves what was acknowledged before as it was", async () => {
  for (let died = 1; died < 12; died++)
    for (let moved = 1; moved <= died; moved++) {
      const world = await aliasedWorld();
      await write(world, "a", "old");
      const dying = effects(world, async ({ index }, moment) => {
        if (index === moved && moment === "before") await move(world, "target");
        if (index === died && moment === "after") throw new Crash("after");
        return undefined;
      });
      const answer = await write(dying, "a", "new").catch((error: unknown) => {
        if (!(error instanceof Crash)) throw error;
        return null;
      });
      const { a } = await readAll(world, ["a"]);
      // Not acknowledged, it may be there all the same.
      expect(answer === null ? ["old", "new"] : ["new"]).toContain(a);
      await write(world, "a", "again");
      expect(await readAll(world, ["a"])).toEqual({ a: "again" });
    }
});

test("a PUT that takes effect on the old side after the move is a write of the old side alone, until its caller is answered", async () => {
  const world = await aliasedWorld();
  const late = effects(world, async ({ operation, key }, moment) => {
    if (operation === "put" && key.startsWith(`${source}/0/deltas/`) && moment === "before")
      await move(world, "target");
    return undefined;
  });
  const answer = await write(late, "a", "late");
  expect(answer.alias).toMatchObject({ collection: target });
  expect(world.store.keys(`${source}/0/deltas/`)).toHaveLength(1);
  expect(await readAll(world, ["a"])).toEqual({ a: "late" });
});

test("rows that are put on the new side have their place: what was written later, and carried, stands above them", async () => {
  const world = await aliasedWorld({ shards: [1, 2] });
  const [id, other] = ["a", "b"];
  let looks = 0;
  const slow = effects(world, async ({ operation, key }, moment) => {
    if (operation !== "get" || key !== "notes/alias.json" || moment !== "before" || ++looks !== 2)
      return undefined;
    // A later write of the same millisecond, acknowledged on the old side.
    await write(world, id, "later");
    await move(world, "target");
    return undefined;
  });
  const records = [
    { id, vector: [1, 2], document: "first" },
    { id: other, vector: [1, 2], document: "first" },
    { id: other, vector: [1, 2], document: "second" },
  ];
  const answer = await produce(slow, { collection: "notes", records });
  expect(answer).toMatchObject({ written: 2, alias: { side: "target" } });
  expect(await readAll(world, [id, other])).toEqual({ a: "later", b: "second" });
  await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 3_600_000 });
  expect(await readAll(world, [id, other], answer.token!)).toEqual({ a: "later", b: "second" });
});

test("a barrier that stands is waited for before anything is put, ten seconds and not longer; after a PUT it is uncertain", async () => {
  const world = await aliasedWorld();
  await barrier(world);
  const beganMs = world.clock.nowMs();
  await expect(write(world, "a", "1")).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("nothing was written"),
  });
  expect(world.clock.nowMs() - beganMs).toBe(10_000);
  expect(world.store.keys(`${source}/0/deltas/`)).toEqual([]);
  await lift(world);
  const slow = effects(world, async ({ operation, key }, moment) => {
    if (operation === "put" && key.includes("/deltas/") && moment === "after") await barrier(world);
    return undefined;
  });
  await expect(write(slow, "a", "1")).rejects.toMatchObject({
    kind: "uncertain",
    message: expect.stringContaining("about to move for 10 s"),
  });
});

test("what cannot be said after the PUT is uncertain: the alias is gone, does not answer, or leads to another space", async () => {
  const cases: [string, (world: World) => Promise<unknown>, string][] = [
    ["1", (world) => deleteAlias(world, "notes"), "deleted meanwhile"],
    ["2", (world) => move(world, "target", null), "notes_v2 holds 2, and the vectors are of 1"],
    [
      "1",
      async () => Promise.reject(new SiltstoneError("unavailable", "S3 is down")),
      "could not be read again",
    ],
  ];
  for (const [version, happens, message] of cases) {
    const world = await aliasedWorld({ embeddingVersions: ["1", version] });
    let isBroken = false;
    const slow = effects(world, async ({ operation, key }, moment) => {
      if (operation === "put" && key.includes("/deltas/") && moment === "after")
        await happens(world).catch(() => {
          isBroken = true;
        });
      if (isBroken && operation === "get" && moment === "before") return { kind: "refuse" };
      return undefined;
    });
    const call = { collection: "notes", embeddingVersion: "1", records: [{ id: "a", vector: [1, 2] }] };
    await expect(produce(slow, call)).rejects.toMatchObject({
      kind: "uncertain",
      message: expect.stringContaining(message),
    });
  }
});

test("vectors through an alias with two embedding spaces must say of which they are; deletes need not", async () => {
  const world = await aliasedWorld({ embeddingVersions: ["1", "2"] });
  await expect(write(world, "a", "1")).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining('the sides of alias notes hold "1" and "2"'),
  });
  const call = { collection: "notes", records: [{ id: "a", vector: [1, 2] }] };
  expect(await produce(world, { ...call, embeddingVersion: "1" })).toMatchObject({ written: 1 });
  await expect(produce(world, { ...call, embeddingVersion: "2" })).rejects.toMatchObject({ kind: "invalid" });
  expect(await produce(world, { collection: "notes", deletes: ["a"] })).toMatchObject({ deleted: 1 });
});

test("a side that was deleted by older code, and made again, is not written to", async () => {
  const world = await aliasedWorld();
  for (const key of world.store.keys(`${source}/`)) await world.store.delete([key]);
  await createCollection(world, { name: source, dims: 2, metric: "l2" });
  await expect(write(world, "a", "1")).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("another was made under its name"),
  });
});

describe("moving the writing side", () => {
  test("a draining that fails, or takes longer than the deadline, lifts the barrier: the side stays", async () => {
    const failing = async () =>
      Promise.reject(new SiltstoneError("unavailable", "the target does not answer"));
    const world = await aliasedWorld();
    await expect(move(world, "target", failing)).rejects.toMatchObject({
      message: "the target does not answer",
    });
    const late = async () => world.clock.advance(10_000);
    await expect(move(world, "target", late as never)).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("within 10 s"),
    });
    const { alias } = await mustReadAlias(world.store, "notes");
    expect(alias).toMatchObject({ writing: "source", barrier: null });
    expect(alias.changes.map(({ what, reason }) => [what, reason]).slice(0, 4)).toEqual([
      ["barrier lifted", "not drained: unavailable"],
      ["barrier before writes go to notes_v2", "a test"],
      ["barrier lifted", "not drained: unavailable"],
      ["barrier before writes go to notes_v2", "a test"],
    ]);
    expect(await write(world, "a", "1")).toMatchObject({ alias: { side: "source" } });
  });

  test("a driver that sleeps while somebody lifts its barrier moves nothing, and lifts none that came since", async () => {
    const world = await aliasedWorld();
    const asleep = async () => {
      await lift(world);
      await write(world, "a", "after the barrier");
    };
    await expect(move(world, "target", asleep)).rejects.toMatchObject({ kind: "conflict" });
    expect((await mustReadAlias(world.store, "notes")).alias).toMatchObject({
      writing: "source",
      barrier: null,
    });
    const overtaken = async () => {
      await lift(world);
      await barrier(world);
      throw new SiltstoneError("unavailable", "too slow");
    };
    await expect(move(world, "target", overtaken)).rejects.toMatchObject({ message: "too slow" });
    expect((await mustReadAlias(world.store, "notes")).alias.barrier).not.toBeNull();
  });

  test("without a drain it is refused unless at once is asked for; where it is there already, nothing is changed", async () => {
    const world = await aliasedWorld();
    await expect(moveWriting(world, { ...notes, collection: target })).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining(
        "what notes_v1 has acknowledged and notes_v2 does not hold is missing",
      ),
    });
    await expect(moveWriting(world, { ...notes, collection: "other", atOnce: true })).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("it leads to notes_v1 and notes_v2"),
    });
    await move(world, "target", null);
    const before = await mustReadAlias(world.store, "notes");
    expect(await move(world, "target", null)).toEqual(before);
  });

  test("a driver that dies at any effect leaves the old side, a barrier that is lifted after its deadline, or the new side, drained", async () => {
    const seen = new Set<string>();
    for (let died = 1, isOver = false; !isOver; died++) {
      const world = await aliasedWorld();
      await write(world, "a", "1");
      isOver = true;
      const dying = effects(world, ({ index }, moment) => {
        if (index === died && moment === "after") {
          isOver = false;
          throw new Crash("after");
        }
        return undefined;
      });
      await move(dying, "target").catch((error: unknown) => {
        if (!(error instanceof Crash)) throw error;
      });
      const { alias } = await mustReadAlias(world.store, "notes");
      seen.add(alias.barrier === null ? alias.writing : "barrier");
      expect(await readAll(world, ["a"])).toEqual({ a: "1" });
      world.clock.advance(10_000);
      await move(world, "target");
      await write(world, "b", "2");
      expect(await readAll(world, ["a", "b"])).toEqual({ a: "1", b: "2" });
      expect(died).toBeLessThan(40);
    }
    expect([...seen].sort()).toEqual(["barrier", "source", "target"]);
  });
});
