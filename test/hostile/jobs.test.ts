/** Records of items that others have written into the table, and texts in their place: each concerns its own item, and is said. */
import { chunksOf } from "../../lib/embedding/chunks.ts";
import { findItems, healthOf } from "../../lib/jobs/find.ts";
import type { Item } from "../../lib/jobs/item.ts";
import { defaultSettings } from "../../lib/jobs/settings.ts";
import { gauge, sweep } from "../../lib/jobs/sweep.ts";
import { type JobTestWorld, jobWorld, save, textOf, visible, workAll } from "../jobs/job-world.ts";

let world: JobTestWorld;
beforeEach(async () => {
  world = await jobWorld();
});

const brackets = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
/** What an insider makes of a record that waits. */
const forged: [what: string, part: object][] = [
  ["rows to remove without end", { highWater: 2 ** 53 - 1 }],
  ["a high-water below zero", { highWater: -1 }],
  ["a text that is none", { text: "as it is" }],
  ["a text that is a number", { text: { inline: 7 } }],
  ["a lease of nobody", { status: "processing", lease: 5 }],
  ["a version that is no integer", { version: 1.5 }],
  ["a version that is no number", { version: "9" }],
  ["metadata that is nested as deep as it is long", { metadata: { a: "BRACKETS" } }],
  ["metadata that is a list", { metadata: [] }],
  ["a priority of its own", { priority: "highest" }],
  ["an error that is none", { error: "no" }],
  ["a time that is none", { scheduledAtMs: null }],
  ["runs without end", { attemptsMax: null }],
  ["another item's record", { item: "c" }],
  ["another collection's record", { collectionId: "01ARZ3NDEKTSV4RRFFQ69G5FAV" }],
];

test.each(forged)("%s: its neighbours are embedded, and it is said", async (_, part) => {
  await save(world, { id: "a", text: "first" }, { id: "b", text: "second" });
  const record = world.table.all.find(({ item }) => item === "a")!;
  world.table.forge(record, JSON.stringify({ ...record, ...part }).replace('"BRACKETS"', brackets));
  const report = await workAll(world);
  expect(report).toMatchObject({ completed: 1, failed: 1 });
  expect(report.errors).toEqual([{ kind: "corrupt", message: expect.stringMatching(/record/) }]);
  expect(Object.keys(visible(world))).toEqual(["b"]);
  await world.clock.sleep(3_600_000);
  expect(await sweep(world, {})).toMatchObject({ woken: 0 });
  expect(await gauge(world)).toMatchObject({ waiting: expect.any(Number) });
  const found: Item[] = [];
  for await (const one of findItems(world.table)) found.push(one);
  expect(found.map(({ item }) => item)).toEqual(["b"]);
  await healthOf(world.table, defaultSettings, world.clock.nowMs());
  // A save does not write over what it cannot read.
  await expect(save(world, { id: "a", text: "third" })).rejects.toMatchObject({ kind: "corrupt" });
});

test.each([
  ["another text", (bytes: Buffer) => Buffer.from(bytes.toString().replace("alpha", "omega"))],
  ["bytes that are no text", (bytes: Buffer) => Buffer.concat([bytes, Buffer.from([0xff])])],
  ["a text without end", () => Buffer.alloc(5 * 2 ** 20, "a")],
])("a text on S3 that an insider has replaced is not embedded: %s", async (_, replaced) => {
  await save(world, { id: "a", text: textOf("alpha", 12) }, { id: "b", text: "second" });
  const { store } = world.memory;
  const [key] = store.keys("notes/").filter((one) => one.includes("/texts/"));
  const bytes = store.bytes(key!)!;
  await store.delete([key!]);
  await store.put(key!, replaced(Buffer.from(bytes)), { ifAbsent: true });
  const report = await workAll(world);
  expect(report).toMatchObject({ completed: 1, postponed: 1 });
  expect(report.errors).toEqual([{ kind: "corrupt", message: expect.stringContaining(key!) }]);
  expect(Object.keys(visible(world))).toEqual(["b"]);
});

const items: [what: string, item: unknown, reason: RegExp][] = [
  ["an id that commands terminals", { id: "a\u001b[2J", text: "t" }, /id of number 0/],
  ["an id that reads backwards", { id: "a\u202e", text: "t" }, /id of number 0/],
  ["an id of 100,000 bytes", { id: "a".repeat(100_000), text: "t" }, /id of number 0/],
  ["a lone surrogate", { id: "a", text: "\ud800" }, /text of number 0 is not well-formed/],
  ["a text of 5 MiB", { id: "a", text: "x".repeat(5 * 2 ** 20) }, /text of number 0 has \d+ UTF-8 bytes/],
  ["line ends alone", { id: "a", text: "\n".repeat(1_000_000) }, /text of number 0 is empty/],
  ["metadata without end", { id: "a", text: "t", metadata: { a: JSON.parse(brackets) } }, /metadata/],
  ["metadata of a chunk's own", { id: "a", text: "t", metadata: { chunk: 1 } }, /is the chunk's own/],
  ["a version where time orders", { id: "a", text: "t", version: 1 }, /version of number 0 is not allowed/],
  ["a priority that is a list", { id: "a", text: "t", priority: ["high"] }, /priority of number 0/],
  ["a key of a megabyte", { id: "a", text: "t", ["k".repeat(1e6)]: 1 }, /k is not known here|kkk/],
  ["a prototype", JSON.parse('{"id":"a","text":"t","__proto__":{"operation":"delete"}}'), /__proto__/],
  ["no object", ["a"], /item of number 0 must be an object/],
];
test.each(items)("an item with %s is refused at once, and its call whole", async (_, item, reason) => {
  const started = process.cpuUsage();
  await expect(save(world, item as object, { id: "b", text: "second" })).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringMatching(reason),
  });
  const { user, system } = process.cpuUsage(started);
  expect((user + system) / 1e6).toBeLessThan(0.5);
  expect(world.table.all).toEqual([]);
});

test("a text of line ends without end is cut like any other", () => {
  const text = `a${"\n".repeat(4 * 2 ** 20 - 2)}b`;
  const chunks = chunksOf(text, { bytesMax: 1_500 });
  expect(chunks.at(0)).toMatchObject({ start: 0 });
  expect(chunks.at(-1)).toMatchObject({ limit: text.length });
  expect(chunks.map((chunk) => chunk.text.trim()).join("")).toBe("ab");
});

test("paragraphs end behind the blanks between them, whatever line ends those have", () => {
  const breaks = ["\n\n", "\r\n\r\n", "\n \t\n", "\n\n\n ", "\n\t\r\n", "\r\n\n"];
  const parts = breaks.map((one) => `paragraph${one}`);
  // No two fit into one chunk.
  const chunks = chunksOf(`${parts.join("")}paragraphs`, { bytesMax: 16 });
  expect(chunks.map(({ text }) => text)).toEqual([...parts, "paragraphs"]);
});
