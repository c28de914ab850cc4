/**
 * Verifying a shard from S3 alone, as if nothing that was ever written about it could be trusted:
 *
 *  1. the pointer, and the manifest that it names, by sha256;
 *  2. the pointer's history: every kept version follows its parent, and every ledger balances;
 *  3. every file of the current version, by size and sha256;
 *  4. conservation: each segment's rows, read back one by one, add up to the checksum in its manifest;
 *  5. that each segment opens, and that its clusters.bin says what its other files do;
 *  6. that every pin is one, and names a version that is there;
 *  7. whose the objects below the shard's prefix are: what is not ours is named, and is no fault.
 *
 * Findings are collected, not thrown: one damaged object does not hide the next.
 */

import {
  isOurs,
  pinOfKey,
  type SegmentFile,
  type ShardRef,
  shardName,
  shardPrefix,
} from "../../core/format/keys.ts";
import { type Segment, segmentBytes, successionFault } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { checkClusters } from "../../segment/check-clusters.ts";
import { describeSegment, measureRows, withFolder } from "../../segment/files.ts";
import { OpenSegment } from "../../segment/open-segment.ts";
import type { World } from "../ports.ts";
import { type Head, readHead } from "../shard/head.ts";
import { listManifests, publishedChain, readManifest, readPin } from "../shard/history.ts";
import { fetchSegment } from "../shard/segment-transfer.ts";
import { Strangers, type StrangersFound } from "../shard/strangers.ts";

export interface VerifyReport {
  readonly shard: string;
  readonly version: number | null;
  readonly versionsChecked: number;
  readonly segments: number;
  readonly files: number;
  readonly bytes: number;
  readonly rows: number;
  readonly tombstones: number;
  /** Empty when everything holds. */
  readonly faults: readonly string[];
  readonly strangers: StrangersFound;
}

export async function verify(
  world: World,
  collection: Collection,
  shard: number,
  onSegment: (done: number, all: number) => void = () => {},
): Promise<VerifyReport> {
  const ref: ShardRef = { collection: collection.name, shard };
  const faults: string[] = [];
  const { pins, strangers } = await survey(world, ref);
  const report = {
    shard: shardName(ref),
    versionsChecked: 0,
    segments: 0,
    files: 0,
    bytes: 0,
    rows: 0,
    tombstones: 0,
    strangers,
  };
  const head = await attempt(faults, () => readHead(world.store, collection, shard));
  if (head === null) return { ...report, version: null, faults };

  report.versionsChecked = (await attempt(faults, () => verifyHistory(world, head, faults))) ?? 0;
  for (const pin of pins) await attempt(faults, () => verifyPin(world, ref, pin));
  const { segments } = head.manifest;
  for (const [i, segment] of segments.entries()) {
    onSegment(i, segments.length);
    await attempt(faults, () => verifySegment(world, collection, ref, segment));
    report.segments += 1;
    report.files += Object.keys(segment.files).length;
    report.bytes += segmentBytes(segment);
    report.rows += segment.rows;
    report.tombstones += segment.tombstones;
  }
  onSegment(segments.length, segments.length);
  return { ...report, version: head.manifest.version, faults };
}

async function attempt<T>(faults: string[], work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SiltstoneError) || error.kind === "unavailable") throw error;
    faults.push(error.message);
    return null;
  }
}

async function verifyHistory(world: World, head: Head, faults: string[]): Promise<number> {
  const chain = await publishedChain(world.store, head, await listManifests(world.store, head.manifest));
  for (let i = 0; i + 1 < chain.length; i++) {
    const [next, parent] = [chain[i]!, chain[i + 1]!];
    const fault = successionFault(parent, next);
    if (fault !== null) faults.push(`version ${next.version} of ${shardName(next)}: ${fault}`);
  }
  return chain.length;
}

/** Everything below the shard's prefix: its pins, and what is not ours. */
async function survey(
  { store }: World,
  ref: ShardRef,
): Promise<{ pins: string[]; strangers: StrangersFound }> {
  const pins: string[] = [];
  const strangers = new Strangers();
  for await (const page of store.list(shardPrefix(ref))) {
    for (const { key } of page) {
      if (!isOurs(ref, key)) strangers.see(key);
      if (pinOfKey(ref, key) !== null) pins.push(key);
    }
  }
  return { pins, strangers: strangers.found };
}

async function verifyPin(world: World, ref: ShardRef, key: string): Promise<void> {
  for (const pin of await readPin(world.store, key)) await readManifest(world.store, ref, pin);
}

async function verifySegment(
  world: World,
  collection: Collection,
  ref: ShardRef,
  segment: Segment,
): Promise<void> {
  await withFolder(async (folder) => {
    await fetchSegment(world.store, ref, segment, Object.keys(segment.files) as SegmentFile[], folder);
    // First: it sees that the files can be read at all, in bounded time.
    (await OpenSegment.open(folder, collection, segment)).close();
    const found = describeSegment(segment, await measureRows(folder, collection.dims), segment.files);
    const differences = (["rows", "tombstones", "slots", "minVersion", "maxVersion", "sum"] as const).filter(
      (field) => JSON.stringify(found[field]) !== JSON.stringify(segment[field]),
    );
    if (differences.length > 0) {
      throw new SiltstoneError(
        "corrupt",
        `segment ${segment.id} of ${shardName(ref)}: its files do not have the ${differences.join(", ")} of the manifest`,
      );
    }
    if (segment.files["clusters.bin"] !== undefined) checkClusters(folder, collection, segment);
  });
}
