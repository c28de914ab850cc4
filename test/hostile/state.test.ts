/**
 * What an insider writes in the place of pointers, manifests and configurations: with right seals and hashes, and absurd
 * content, or of any size. Its readers say `corrupt`; nothing hangs, and other collections do not notice.
 */
import { createHash } from "node:crypto";
import {
  collectionKey,
  pinKey,
  pointerKey,
  quarantinedDeltaKey,
  quarantineReasonKey,
} from "../../lib/core/format/keys.ts";
import type { Manifest } from "../../lib/core/format/manifest.ts";
import type { Pointer } from "../../lib/core/format/pointer.ts";
import { encodeSealed } from "../../lib/core/format/sealed-json.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { ulidFloor } from "../../lib/core/model/ulid.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { listQuarantine, retryQuarantined } from "../../lib/engine/shard/quarantine.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { type MemoryWorld, memoryWorld } from "../support/memory/world.ts";

const ref = { collection: "docs", shard: 0 };
// biome-ignore lint/suspicious/noExplicitAny: what is written is of no type
type Loose = any;

async function prepare(): Promise<MemoryWorld> {
  const world = memoryWorld();
  for (const name of ["docs", "others"]) {
    await createCollection(world, { name, dims: 2, metric: "l2" });
    await produce(world, { collection: name, records: [{ id: "a", vector: [1, 2] }] });
  }
  await compactAll(world);
  return world;
}

const compactAll = (world: MemoryWorld) =>
  compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + 1e9 });

const readerOf = (world: MemoryWorld) =>
  new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });

/** The head with another content, as its own writer would have written it. */
async function forge(world: MemoryWorld, change: (manifest: Loose, pointer: Loose) => void): Promise<void> {
  const read = <T>(key: string) => {
    const { seal: _, ...rest } = JSON.parse(world.store.bytes(key)!.toString()) as T & { seal: string };
    return structuredClone(rest) as unknown as T;
  };
  const pointer = read<Pointer>(pointerKey(ref));
  const manifest = read<Manifest>(pointer.manifest!);
  change(manifest, pointer);
  const body = encodeSealed(manifest);
  await world.store.put(pointer.manifest!, body);
  const manifestSha256 = createHash("sha256").update(body).digest("hex");
  await world.store.put(pointerKey(ref), encodeSealed({ ...pointer, manifestSha256 }));
}

test.each<[string, (manifest: Loose, pointer: Loose) => void]>([
  [
    "a manifest that is its own parent",
    (m) => void Object.assign(m, { parent: { version: m.version, commit: m.commit } }),
  ],
  [
    "a parent of a later version",
    (m) => void Object.assign(m, { parent: { version: 2 ** 40, commit: m.commit } }),
  ],
  ["a parent that is no commit", (m) => void Object.assign(m, { parent: { version: 0, commit: "../../x" } })],
  ["a watermark that is a number", (m) => void Object.assign(m, { watermark: 1e9 })],
  ["a watermark that commands a terminal", (m) => void Object.assign(m, { watermark: "\u001b[2J" })],
  ["applied deltas that are not a list", (m) => void Object.assign(m, { applied: { length: -1 } })],
  ["segments that are a text", (m) => void Object.assign(m, { segments: "" })],
  ["rows below none", (m) => void Object.assign(m.segments[0], { rows: -1, tombstones: 2, slots: -1 })],
  ["half a row", (m) => void Object.assign(m.segments[0], { rows: 0.5, tombstones: 0.5, slots: 0.5 })],
  ["a segment of another kind", (m) => void Object.assign(m.segments[0], { kind: "none" })],
  ["an epoch beyond all others", (m) => void Object.assign(m, { epoch: 1e308 })],
  [
    "a malformed time",
    (m, p) => void [m, p].map((one) => Object.assign(one, { createdAt: {}, publishedAt: {} })),
  ],
  [
    "a file of less than no bytes",
    (m) => void Object.assign(m.segments[0].files["records.db"], { bytes: -1 }),
  ],
])("%s: corrupt, to readers, the compactor and verify; other collections go on", async (_, change) => {
  const world = await prepare();
  await forge(world, change);
  const corrupt = { kind: "corrupt", message: expect.stringMatching(/manifests\/.* is corrupt: /) };
  const reader = readerOf(world);
  for (const consistency of ["eventual", "strong"] as const)
    await expect(reader.count({ collection: "docs", consistency })).rejects.toMatchObject(corrupt);
  for (const collection of ["docs", "others"])
    await produce(world, { collection, records: [{ id: "b", vector: [1, 2] }] });
  const { shards } = await compactAll(world);
  expect(shards.map(({ collection, error }) => [collection, error?.kind])).toEqual([
    ["docs", "corrupt"],
    ["others", undefined],
  ]);
  expect((await reader.count({ collection: "others" })).count).toBe(2);
  const { faults } = await verify(world, await readCollection(world.store, "docs"), 0);
  expect(faults).toEqual([corrupt.message]);
  await reader.close();
});

/** Where the pointer alone was written: with another epoch, its manifest is not what it names. */
const unreachable: [string, (manifest: Loose, pointer: Loose) => void][] = [
  ["an epoch of 2^53 − 1", (_, p) => void Object.assign(p, { epoch: 2 ** 53 - 1 })],
  ["an epoch of another manifest", (_, p) => void Object.assign(p, { epoch: p.epoch + 1 })],
  ["a version of 2^53 − 1", (_, p) => void Object.assign(p, { version: 2 ** 53 - 1 })],
  ["a floor beyond all segments", (_, p) => void Object.assign(p.floor, { ulid: `7${"Z".repeat(25)}` })],
  [
    "a floor of next year",
    (_, p) => void Object.assign(p.floor, { ulid: ulidFloor(Date.parse(p.publishedAt) + 365 * 86_400_000) }),
  ],
  ["a generation of 2^53 − 1", (_, p) => void Object.assign(p.floor, { generation: 2 ** 53 - 1 })],
];
test.each(unreachable)(
  "a pointer with %s: corrupt, with the way to repair it, and repaired without loss",
  async (_, change) => {
    const world = await prepare();
    await forge(world, change);
    await produce(world, { collection: "docs", records: [{ id: "b", vector: [1, 2] }] });
    const message = expect.stringMatching(/pointer\.json is corrupt: .*`silt snapshot repair`$/);
    const failed = (await compactAll(world)).shards.find(({ collection }) => collection === "docs");
    expect(failed!.error).toEqual({ kind: "corrupt", message });
    await world.store.delete([pointerKey(ref)]);
    await repairPointer(world, await readCollection(world.store, "docs"), 0);
    const healed = (await compactAll(world)).shards.find(({ collection }) => collection === "docs");
    expect(healed).toMatchObject({ ingest: { deltas: 1 } });
    expect(healed!.error).toBeUndefined();
    const reader = readerOf(world);
    expect((await reader.count({ collection: "docs" })).count).toBe(2);
    await reader.close();
  },
);

test("sizes that no file has are not prepared for: verify ends at the first byte that is not there", async () => {
  const world = await prepare();
  await forge(
    world,
    ({ segments: [segment] }) => void Object.assign(segment.files["records.db"], { bytes: 2 ** 53 - 1 }),
  );
  const { faults } = await verify(world, await readCollection(world.store, "docs"), 0);
  expect(faults).toEqual([expect.stringMatching(/records\.db is corrupt: it ends before byte 8388608$/)]);
});

test.each([
  ["pointer", pointerKey(ref)],
  ["configuration", collectionKey("docs")],
])("a %s of any size is not read", async (_, key) => {
  const world = await prepare();
  await world.store.put(key, Buffer.alloc(65_537, "["));
  const before = world.traffic.snapshot();
  const reader = readerOf(world);
  await expect(reader.count({ collection: "docs" })).rejects.toMatchObject({
    kind: "corrupt",
    message: expect.stringContaining(`${key} is corrupt: it has 65537 bytes; at most 65536 are read`),
  });
  await reader.close();
  expect(world.traffic.since(before).bytesRead).toBeLessThan(10_000);
  const { shards } = await compactAll(world);
  expect(shards.find(({ collection }) => collection === "others")?.error).toBeUndefined();
});

test("a pin of any size stops garbage collection of its shard, and is not read", async () => {
  const world = await prepare();
  await world.store.put(pinKey(ref, "huge"), Buffer.alloc(1e6, "["));
  const { shards } = await compactAll(world);
  const [docs, others] = ["docs", "others"].map(
    (name) => shards.find(({ collection }) => collection === name)!,
  );
  expect(docs!.error?.message ?? JSON.stringify(docs)).toMatch(
    /pins\/huge\.json is corrupt: it has 1000000 bytes/,
  );
  expect(others!.error).toBeUndefined();
});

test("a delta that was put aside may be of any size: it is shown and listed without reading it, and not put back", async () => {
  const world = await prepare();
  const delta = deltaId(world.clock.ulid());
  await world.store.put(quarantinedDeltaKey(ref, delta), Buffer.alloc(64 * 1024 * 1024 + 1));
  await world.store.put(quarantineReasonKey(ref, delta), Buffer.alloc(3e6, "["));
  const before = world.traffic.snapshot();
  expect(await listQuarantine(world.store, ref)).toMatchObject([
    { delta, bytes: 64 * 1024 * 1024 + 1, reason: expect.stringContaining("damaged") },
  ]);
  const cli = new MemoryCli(world);
  expect(await cli.run(["quarantine", "show", "docs", delta])).toMatchObject({
    code: 0,
    out: expect.stringMatching(/content +unreadable/),
  });
  await expect(retryQuarantined(world, ref, delta)).rejects.toMatchObject({ kind: "invalid" });
  expect(world.traffic.since(before).bytesRead).toBeLessThan(10_000);
  await cli.close();
});
