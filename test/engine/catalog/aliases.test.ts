/**
 * A name is an alias's or a collection's; an alias leads to collections that are there; two changes of one alias are never mixed:
 * whatever comes in between, and wherever a process dies.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { withBarrier, withOnly, withReadShare, withWriting } from "../../../lib/core/model/alias.ts";
import { isKind, SiltstoneError } from "../../../lib/core/model/errors.ts";
import {
  type AliasCall,
  byOf,
  changeAlias,
  createAlias,
  deleteAlias,
  listAliases,
  mustReadAlias,
  readAlias,
  setTarget,
  write,
} from "../../../lib/engine/catalog/aliases.ts";
import {
  createCollection,
  deleteCollection,
  listCollections,
} from "../../../lib/engine/catalog/collections.ts";
import { Sweep } from "../../../lib/engine/compact/sweep.ts";
import type { World } from "../../../lib/engine/ports.ts";
import { Crash, effects, preconditionFailed, type Verdict } from "../../support/effects.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

const by = { actor: "ada", reason: "a test" };
const notes: AliasCall = { name: "notes", ...by };
const collection = (world: World, name: string) => createCollection(world, { name, dims: 2, metric: "l2" });

async function worldOf(...names: string[]): Promise<MemoryWorld> {
  const world = memoryWorld();
  for (const name of names) await collection(world, name);
  return world;
}
const isThere = (world: MemoryWorld, key: string): boolean => world.store.bytes(key) !== null;

type Operation = (world: World) => Promise<unknown>;
const operations = {
  "create the alias": (world) => createAlias(world, { ...notes, collection: "notes_v1" }),
  "create a collection of its name": (world) => collection(world, "notes"),
  "set the target": (world) => setTarget(world, { ...notes, collection: "notes_v2" }),
  "share the reads": (world) => changeAlias(world, notes, (alias, by) => withReadShare(alias, 200, by)),
  "delete the source": (world) => deleteCollection(world.store, "notes_v1"),
  "delete the target": (world) => deleteCollection(world.store, "notes_v2"),
  "delete the alias": (world) => deleteAlias(world, "notes"),
} satisfies Record<string, Operation>;
type Name = keyof typeof operations;

/** Those that need an alias begin with one. */
async function begun(name: Name): Promise<MemoryWorld> {
  const world = await worldOf("notes_v1", "notes_v2");
  const isMaking = name.startsWith("create") || name === "delete the source";
  if (!isMaking) await operations["create the alias"](world);
  if (name === "share the reads") await operations["set the target"](world);
  return world;
}

const outcomeOf = (done: Promise<unknown>): Promise<"done" | SiltstoneError | Crash> =>
  done.then(
    () => "done" as const,
    (error: unknown) => {
      if (error instanceof SiltstoneError || error instanceof Crash) return error;
      throw error;
    },
  );

/** What must hold whenever nobody is in the middle of anything. */
async function judge(world: MemoryWorld): Promise<void> {
  expect(isThere(world, "notes/alias.json") && isThere(world, "notes/collection.json")).toBe(false);
  const known = await readAlias(world.store, "notes");
  for (const side of [known?.alias.source, known?.alias.target])
    if (side) expect(isThere(world, `${side.collection}/collection.json`)).toBe(true);
  // A collection without its configuration has nothing else but what a deletion is about to take.
  const { collections, strangers } = await listCollections(world.store);
  expect(strangers).toEqual([]);
  for (const { name } of collections) expect(isThere(world, `${name}/0/pointer.json`)).toBe(true);
}

const pairs: readonly (readonly [Name, Name])[] = [
  ["create the alias", "create a collection of its name"],
  ["create a collection of its name", "create the alias"],
  ["create the alias", "delete the source"],
  ["delete the source", "create the alias"],
  ["set the target", "delete the target"],
  ["delete the target", "set the target"],
  ["share the reads", "delete the alias"],
  ["share the reads", "delete the target"],
  ["set the target", "share the reads"],
];

test.each(pairs)("%s, with %s at every effect of it: one sees the other", async (first, second) => {
  for (let index = 1, isOver = false; !isOver; index++) {
    const world = await begun(first);
    let other: unknown = null;
    const slow = effects(world, async (effect, moment) => {
      if (effect.index !== index || moment !== "before") return undefined;
      other = await outcomeOf(operations[second](world));
      return undefined;
    });
    const outcome = await outcomeOf(operations[first](slow));
    isOver = other === null;
    await judge(world);
    if (outcome === "done" && other === "done") {
      const known = await readAlias(world.store, "notes");
      // Both may be done where the one came wholly before the other.
      if (first === "set the target" && second === "delete the target")
        throw new Error("a target was set, and deleted, and nobody saw the other");
      if (second === "delete the source") expect(known).toBeNull();
    }
    expect(index).toBeLessThan(60);
  }
});

const accidents: Record<string, (moment: "before" | "after", isConditional: boolean) => Verdict | undefined> =
  {
    "crash before": (moment) => {
      if (moment === "before") throw new Crash("before");
      return undefined;
    },
    "crash after": (moment) => {
      if (moment === "after") throw new Crash("after");
      return undefined;
    },
    "answer lost": (moment) => (moment === "before" ? { kind: "loseAnswer" } : undefined),
    "refused without a reason": (moment, is) => (moment === "before" && is ? preconditionFailed : undefined),
    "won unnoticed": (moment, is) => (moment === "after" && is ? preconditionFailed : undefined),
  };

describe.each(Object.keys(accidents))("%s, at every effect", (accident) => {
  test.each(Object.keys(operations) as Name[])("%s: what is repeated is done", async (name) => {
    for (let index = 1, isOver = false; !isOver; index++) {
      const world = await begun(name);
      isOver = true;
      const struck = effects(world, (effect, moment) => {
        if (effect.index !== index) return undefined;
        isOver = false;
        return accidents[accident]!(moment, effect.conditional === true);
      });
      await outcomeOf(operations[name](struck));
      const again = await outcomeOf(operations[name](world));
      // What was there already, or is not there any more, was done at first; a target is told to be there.
      const isRepeated = isKind(again, "conflict") || isKind(again, "notFound");
      if (again !== "done" && !isRepeated) throw again;
      await judge(world);
      expect(index).toBeLessThan(60);
    }
  });
});

test("a deletion that dies after an alias was made to lead there is undone by its repetition, wherever it died", async () => {
  let undone = 0;
  for (let made = 1; made < 20; made++)
    for (let died = made; died < 20; died++) {
      const world = await begun("delete the source");
      const struck = effects(world, async ({ index }, moment) => {
        if (index === made && moment === "before") await outcomeOf(operations["create the alias"](world));
        if (index === died && moment === "after") throw new Crash("after");
        return undefined;
      });
      const outcome = await outcomeOf(operations["delete the source"](struck));
      const known = await readAlias(world.store, "notes");
      const again = await outcomeOf(operations["delete the source"](world));
      if (known !== null) expect(again).toMatchObject({ kind: "conflict" });
      if (known !== null && outcome instanceof Crash) undone++;
      await judge(world);
    }
  expect(undone).toBeGreaterThan(5);
});

test("create, show, list, change with its history, delete; the name is free afterwards", async () => {
  const world = await worldOf("notes_v1", "notes_v2", "other");
  expect(await operations["create the alias"](world)).toMatchObject({
    created: true,
    alias: { revision: 1 },
  });
  expect(await operations["create the alias"](world)).toMatchObject({
    created: false,
    alias: { revision: 1 },
  });
  await expect(createAlias(world, { ...notes, collection: "other" })).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("leads to notes_v1"),
  });
  await operations["set the target"](world);
  await operations["share the reads"](world);
  const { aliases } = await listAliases(world.store);
  expect(aliases.map(({ alias }) => alias)).toMatchObject([
    {
      ...{ name: "notes", revision: 3, readShare: 200, writing: "source" },
      source: { collection: "notes_v1" },
      target: { collection: "notes_v2" },
      changes: [
        { revision: 3, actor: "ada", reason: "a test", what: "reads: 20 % by the target" },
        { revision: 2, what: "target notes_v2" },
        { revision: 1, what: "made; leads to notes_v1" },
      ],
    },
  ]);
  const stale = changeAlias(world, { ...notes, revision: 2 }, (alias, by) => withReadShare(alias, 0, by));
  await expect(stale).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("revision 3, not 2"),
  });
  await expect(deleteCollection(world.store, "notes")).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining("silt alias delete notes"),
  });
  await expect(collection(world, "notes")).rejects.toMatchObject({ kind: "conflict" });
  expect(await deleteAlias(world, "notes")).toBe(true);
  expect(await deleteAlias(world, "notes")).toBe(false);
  await expect(mustReadAlias(world.store, "notes")).rejects.toMatchObject({ kind: "notFound" });
  expect(await collection(world, "notes")).toMatchObject({ created: true });
  await expect(operations["create the alias"](world)).rejects.toMatchObject({ kind: "conflict" });
});

test("a change of what somebody else changed meanwhile is refused, also by one who slept over many", async () => {
  const world = await begun("share the reads");
  const known = await mustReadAlias(world.store, "notes");
  const target = known.alias.target!;
  // There and back, so that all but the revision and the history is what it was.
  for (const share of [1, 0]) await changeAlias(world, notes, (alias, by) => withReadShare(alias, share, by));
  const late = write(world, known, withReadShare(known.alias, 500, byOf(world, notes)));
  await expect(late).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("revision 4"),
  });
  expect((await mustReadAlias(world.store, "notes")).alias).toMatchObject({
    revision: 4,
    readShare: 0,
    target,
  });
});

test("a target of another order of writes is refused", async () => {
  const world = await worldOf("notes_v1");
  await createCollection(world, { name: "notes_v2", dims: 2, metric: "l2", ordering: "source" });
  await operations["create the alias"](world);
  await expect(operations["set the target"](world)).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining("orders writes by source and notes_v1 by arrival"),
  });
});

test("a side is given up, and then its collection can be deleted", async () => {
  const world = await begun("share the reads");
  await expect(operations["delete the source"](world)).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("the alias notes leads to it"),
  });
  await changeAlias(world, notes, (alias, by) => withWriting(alias, "target", by));
  await changeAlias(world, notes, (alias, by) => withReadShare(alias, 1_000, by));
  await changeAlias(world, notes, (alias, by) => withOnly(alias, "target", by));
  await operations["delete the source"](world);
  await expect(operations["delete the target"](world)).rejects.toMatchObject({ kind: "conflict" });
  await judge(world);
});

test("what older code made has no claim, and goes on: golden bytes are read, led to, deleted; no alias takes their name", async () => {
  const packed = readFileSync(join(import.meta.dirname, "../../golden/shard-v1.json.gz"));
  const { nowMs, objects } = JSON.parse(gunzipSync(packed).toString("utf8")) as {
    nowMs: number;
    objects: Record<string, string>;
  };
  const world = memoryWorld();
  world.clock.advance(nowMs - world.clock.nowMs());
  for (const [key, body] of Object.entries(objects)) await world.store.put(key, Buffer.from(body, "base64"));
  expect(Object.keys(objects)).toContain("golden/collection.json");
  expect(Object.keys(objects)).not.toContain("golden/name.json");
  expect((await listCollections(world.store)).collections).toMatchObject([{ name: "golden" }]);
  await expect(createAlias(world, { ...by, name: "golden", collection: "golden" })).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("golden is the name of a collection"),
  });
  await createAlias(world, { ...notes, collection: "golden" });
  await expect(deleteCollection(world.store, "golden")).rejects.toMatchObject({ kind: "conflict" });
  for (const [key, body] of Object.entries(objects))
    expect(world.store.bytes(key)!.equals(Buffer.from(body, "base64"))).toBe(true);
  expect(world.store.keys("golden/")).toHaveLength(Object.keys(objects).length);
  await deleteAlias(world, "notes");
  expect(await deleteCollection(world.store, "golden")).toBe(Object.keys(objects).length);
  expect(world.store.keys()).toEqual([]);
});

test("a collection that older code makes while an alias of its name is made stays, and the alias does not", async () => {
  const world = await worldOf("notes_v1");
  const body = world.store.bytes("notes_v1/collection.json")!;
  const slow = effects(world, async ({ operation, key }, moment) => {
    if (operation === "put" && key === "notes/alias.json" && moment === "after")
      await world.store.put("notes/collection.json", body, { ifAbsent: true });
    return undefined;
  });
  await expect(operations["create the alias"](slow)).rejects.toMatchObject({ kind: "conflict" });
  expect(isThere(world, "notes/alias.json")).toBe(false);
});

test("a compactor's run takes no alias for a stranger, and lifts a barrier whose driver died", async () => {
  const world = await begun("share the reads");
  const deadlineMs = world.clock.nowMs() + 10_000;
  const barred = await changeAlias(world, notes, (alias, by) => withBarrier(alias, "target", deadlineMs, by));
  const listed = () => new Sweep().collections(world, "ingest");
  expect(await listed()).toMatchObject({ strangers: [], unreadable: [] });
  expect(await mustReadAlias(world.store, "notes")).toEqual(barred);
  world.clock.advance(10_000);
  await listed();
  expect((await mustReadAlias(world.store, "notes")).alias).toMatchObject({
    ...{ barrier: null, writing: "source", revision: barred.alias.revision + 1 },
    changes: [{ actor: "compactor", what: "barrier lifted" }, {}, {}, {}],
  });
  // Its driver wakes up, and undoes nothing.
  const late = write(world, barred, withWriting(barred.alias, "target", byOf(world, notes)));
  await expect(late).rejects.toMatchObject({ kind: "conflict" });
});

test("a damaged alias is reported, keeps collections from being deleted, and can be deleted itself", async () => {
  const world = await begun("share the reads");
  await world.store.put("notes/alias.json", Buffer.from("no JSON"));
  expect(await listAliases(world.store)).toMatchObject({ aliases: [], unreadable: [{ name: "notes" }] });
  await expect(operations["delete the source"](world)).rejects.toMatchObject({ kind: "corrupt" });
  expect(await deleteAlias(world, "notes")).toBe(true);
  await operations["delete the source"](world);
  expect(await readAlias(world.store, "notes")).toBeNull();
});
