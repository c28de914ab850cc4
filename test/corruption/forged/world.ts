/**
 * A world whose segments are forged: the bytes of a file are others, and every hash above them (clusters.bin's own, the
 * manifest's, the pointer's) is right again. What reads it must find the lie in the bytes themselves, or not be harmed by it.
 */
import { hash } from "node:crypto";
import { type SegmentFile, segmentKey } from "../../../lib/core/format/keys.ts";
import {
  encodeManifest,
  type FileEntry,
  type Manifest,
  type Segment,
} from "../../../lib/core/format/manifest.ts";
import { encodePointer } from "../../../lib/core/format/pointer.ts";
import type { Collection, Metric } from "../../../lib/core/model/collection.ts";
import { isKind, isNewerFormat, SiltstoneError } from "../../../lib/core/model/errors.ts";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { merge } from "../../../lib/engine/compact/merge.ts";
import { verify } from "../../../lib/engine/operate/verify.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { readHead } from "../../../lib/engine/shard/head.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { gaussian } from "../../../scripts/bench/data.ts";
import { type MemoryWorld, memoryWorld } from "../../support/memory/world.ts";

export const dims = 8;
const name = "docs";
const far = 9e15;
const limits = {
  ...{ flatSegmentsMax: 1, flatRowsMax: 20, growth: 4, deadShareMax: 0.25 },
  ...{ staleMsMax: 1e15, uncountedMsMax: 1e15 },
  ...{ segmentComponentsMax: 1e6, segmentWeightMax: 1e9, clusteredComponentsMin: 1 },
};
/** Everything becomes one graph, grown from the largest. */
const mergeLimits = { ...limits, flatRowsMax: 0, growth: 1e6 };
export const index = { M: 4, efConstruction: 20, efSearch: 12 };
const fields = { lang: "string", tags: "string[]", n: "number" } as const;

export type Kind = Segment["kind"];

export interface Scene {
  readonly world: MemoryWorld;
  readonly collection: Collection;
  readonly manifest: Manifest;
  readonly vectors: readonly Float32Array[];
}

/** A graph with copies and dead slots, and a flat segment with tombstones. */
export async function prepare(metric: Metric): Promise<Scene> {
  const world = memoryWorld();
  const { collection } = await createCollection(world, { name, dims, metric, fields, index });
  const normal = gaussian(17);
  const vectors = Array.from({ length: 420 }, () => Float32Array.from({ length: dims }, () => normal()));
  for (let i = 200; i < 260; i++) vectors[i] = vectors[5]!;
  const put = (first: number, limit: number, version: string) =>
    produce(world, {
      collection: name,
      records: vectors.slice(first, limit).map((vector, i) => ({
        ...{ id: `row-${first + i}`, vector, document: `${version} of ${first + i}` },
        metadata: { lang: i % 2 ? "en" : "de", tags: [`t${i % 5}`, "all"], n: i },
      })),
    });
  const ingest = () => compact(world, { ingest: true, upkeep: false, deadlineMs: far });
  await put(0, 360, "first");
  await ingest();
  await merge(world, collection, 0, { deadlineMs: far, limits });
  await put(340, 400, "second");
  await ingest();
  await merge(world, collection, 0, { deadlineMs: far, limits: mergeLimits });
  await put(400, 415, "third");
  await produce(world, { collection: name, deletes: ["row-1", "row-2", "row-399"] });
  await ingest();
  const { manifest } = await readHead(world.store, collection, 0);
  return { world, collection, manifest, vectors };
}

export const segmentOf = ({ manifest }: Scene, kind: Kind): Segment =>
  manifest.segments.find((segment) => segment.kind === kind)!;
export const bytesOf = (scene: Scene, kind: Kind, file: SegmentFile): Buffer =>
  Buffer.from(scene.world.store.bytes(segmentKey(scene.manifest, segmentOf(scene, kind).id, file))!);

export interface Forged {
  readonly kind: Kind;
  readonly file: SegmentFile;
  readonly bytes: Buffer;
}

/** Runs `work` while the files are forged. */
export async function forging<T>(
  scene: Scene,
  forged: readonly Forged[],
  work: () => Promise<T>,
): Promise<T> {
  const { world, manifest } = scene;
  const changed = new Map<string, Buffer>();
  let segments = manifest.segments;
  for (const { kind, file, bytes } of forged) {
    const { id } = segmentOf(scene, kind);
    changed.set(segmentKey(manifest, id, file), bytes);
    segments = segments.map((segment) => {
      if (segment.id !== id) return segment;
      return { ...segment, files: { ...segment.files, [file]: entryOf(bytes, segment.files[file]!) } };
    });
  }
  const pointerKey = `${name}/0/pointer.json`;
  const { pointer } = await readHead(world.store, scene.collection, 0);
  const manifestBytes = encodeManifest({ ...manifest, segments });
  changed.set(pointer.manifest!, manifestBytes);
  changed.set(
    pointerKey,
    encodePointer({ ...pointer, manifestSha256: hash("sha256", manifestBytes, "hex") }),
  );
  const originals = [...changed.keys()].map((key) => [key, Buffer.from(world.store.bytes(key)!)] as const);
  for (const [key, bytes] of changed) await world.store.put(key, bytes);
  try {
    return await work();
  } finally {
    // A merge may have published.
    const kept = new Set([...originals.map(([key]) => key), ...allKeys(scene)]);
    await world.store.delete(world.store.keys().filter((key) => !kept.has(key)));
    for (const [key, bytes] of originals) await world.store.put(key, bytes);
  }
}

const keysByStage = new WeakMap<Scene, readonly string[]>();
function allKeys(scene: Scene): readonly string[] {
  const known = keysByStage.get(scene) ?? scene.world.store.keys();
  keysByStage.set(scene, known);
  return known;
}

function entryOf(bytes: Buffer, { head }: FileEntry): FileEntry {
  const entry = { bytes: bytes.length, sha256: hash("sha256", bytes, "hex") };
  if (head === undefined) return entry;
  const first = bytes.subarray(0, head.bytes);
  return { ...entry, head: { bytes: first.length, sha256: hash("sha256", first, "hex") } };
}

/** What became of everything that reads segments: answers, or `corrupt`. Anything else is thrown. */
export async function exercise(scene: Scene): Promise<{ refused: string[]; answered: number }> {
  const { world, collection, vectors } = scene;
  const refused: string[] = [];
  let answered = 0;
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      seeNumbers(what, await work());
      answered += 1;
    } catch (error) {
      // A record that is not found is no harm.
      if (isKind(error, "notFound")) return;
      // A newer format is left to newer code.
      if (!isKind(error, "corrupt") && !isNewerFormat(error))
        throw new Error(`${what}: ${describe(error)}`, { cause: error });
      refused.push(`${what}: ${(error as Error).message}`);
    }
  };
  // What a producer's write took must be as it is for all of them; nothing here is waited for.
  const options = { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic };
  const cold = new Reader(world, options);
  const question = { collection: name, include: ["document", "metadata"] as const };
  for (const vector of [vectors[5]!, vectors[50]!])
    await attempt("cold query", () => cold.query({ ...question, vector, topK: 10 }));
  await cold.close();
  const reader = new Reader(world, options);
  const now = { consistency: "bounded", maxAgeSeconds: 0 } as const;
  const filters = [{ lang: "en" }, { tags: "t3" }, { n: { $gt: 40 } }];
  const asked = [
    [5, 1],
    [50, 100],
    [410, 10, filters[0]],
    [5, 10, filters[1]],
    [50, 100, filters[2]],
  ] as const;
  for (const [near, topK, filter] of asked) {
    const query = { ...question, ...now, vector: vectors[near]!, topK, filter };
    await attempt(`query of ${topK}`, () => reader.query(query));
  }
  for (const filter of filters)
    await attempt("count", () => reader.count({ ...now, collection: name, filter }));
  const ids = ["row-5", "row-210", "row-399", "row-1", "row-405"];
  await attempt("get", () => reader.get({ ...now, collection: name, ids, include: ["vector", "document"] }));
  await attempt("query by id", () => reader.query({ ...question, ...now, id: "row-7", excludeIds: ids }));
  await reader.close();
  await attempt("verify", async () => {
    const { faults } = await verify(world, collection, 0);
    if (faults.length > 0) throw new SiltstoneError("corrupt", faults.join("; "));
  });
  await attempt("merge", () => merge(world, collection, 0, { deadlineMs: far, limits: mergeLimits }));
  return { refused, answered };
}

const describe = (error: unknown): string =>
  error instanceof SiltstoneError
    ? `${error.kind}: ${error.message}`
    : String((error as Error)?.stack ?? error);

/** Every number of an answer is one. */
function seeNumbers(what: string, answer: unknown): void {
  const see = (value: unknown, at: string): void => {
    if (typeof value === "number" && !Number.isFinite(value)) throw new Error(`${what}: ${at} is ${value}`);
    if (typeof value !== "object" || value === null || at.endsWith("metadata")) return;
    for (const [key, one] of Object.entries(value)) see(one, `${at}.${key}`);
  };
  see(answer, "answer");
}
