/** silt snapshot list | inspect | diff: a *history* is what is kept of one shard's versions, newest first, with its pins. */
import { type Manifest, segmentBytes, snapshotBytes } from "../../lib/core/format/manifest.ts";
import type { SnapshotVersion } from "../../lib/core/model/ids.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import {
  listManifests,
  listPins,
  noVersion,
  type Pin,
  publishedChain,
  readManifest,
} from "../../lib/engine/shard/history.ts";
import { type Opened, oneShard, openCollection, shardsOf } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine } from "./each-shard.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { differenceOf } from "./snapshot-difference.ts";
import { bytes, moment, pairs, plural, table } from "./text.ts";

export interface ShardOptions {
  readonly shard?: number;
}

interface History {
  readonly chain: readonly Manifest[];
  readonly pins: readonly Pin[];
  readonly current: SnapshotVersion;
}

async function historyOf({ world, collection }: Opened, shard: number): Promise<History> {
  const head = await readHead(world.store, collection, shard);
  const names = await listManifests(world.store, head.manifest);
  const chain = await publishedChain(world.store, head, names);
  const pins = await listPins(world.store, head.manifest);
  const kept = new Set(chain.map(({ commit }) => commit));
  // Versions between a pinned one and the others may be gone: then the chain does not reach it.
  const apart = pins.filter(({ commit }) => !kept.has(commit));
  const pinned = await Promise.all(apart.map((pin) => readManifest(world.store, head.manifest, pin)));
  const all = [...chain, ...pinned]
    .filter((manifest) => manifest.version > 0)
    .sort((a, b) => b.version - a.version);
  return { chain: all, pins, current: head.manifest.version };
}

const pinNames = (pins: readonly Pin[], { version: of }: Manifest): string[] =>
  pins.filter((pin) => pin.version === of).map((pin) => pin.name);

function versionOf(history: History, collection: string, shard: number, wanted: SnapshotVersion): Manifest {
  const found = history.chain.find((manifest) => manifest.version === wanted);
  if (found) return found;
  throw noVersion({ collection, shard }, wanted, history.chain);
}

/** A version of a shard that is kept. Throws `notFound` where there is none of this number. */
export async function keptVersion(opened: Opened, shard: number, wanted: SnapshotVersion): Promise<Manifest> {
  return versionOf(await historyOf(opened, shard), opened.collection.name, shard, wanted);
}

export async function listVersions(session: Session, name: string, options: ShardOptions): Promise<Outcome> {
  const opened = await openCollection(session, name);
  const { done, failed } = await eachShard(shardsOf(opened.collection, options.shard), async (shard) => {
    const { chain, pins, current } = await historyOf(opened, shard);
    return chain.map((manifest) => ({
      shard,
      version: manifest.version,
      current: manifest.version === current,
      pins: pinNames(pins, manifest),
      cause: manifest.cause,
      createdAt: manifest.createdAt,
      epoch: manifest.epoch,
      commit: manifest.commit,
      segments: manifest.segments.length,
      rows: manifest.segments.reduce((sum, segment) => sum + segment.rows, 0),
      bytes: snapshotBytes(manifest),
      ingestedRows: manifest.ledger.ingested.rows,
    }));
  });
  const versions = done.flat();
  if (versions.length + failed.length === 0) {
    return {
      value: { versions },
      text: `nothing of ${name} is published yet`,
      next: [`publish what is written: silt compact ${name}`],
    };
  }
  const rows = versions.map((one) => [
    `${name}/${one.shard}`,
    one.version,
    [...(one.current ? ["current"] : []), ...one.pins.map((pin) => `pin ${pin}`)].join(", "),
    one.cause,
    moment(one.createdAt),
    one.segments,
    one.rows,
    bytes(one.bytes),
  ]);
  return {
    value: { versions, failed },
    text: [
      table(["SHARD", "VERSION", "", "CAUSE", "PUBLISHED", "SEGMENTS", "ROWS", "SIZE"], rows),
      ...failed.map((one) => failureLine({ collection: name, shard: one.shard }, one)),
    ].join("\n"),
    exitCode: exitCodeOfFailures(failed),
  };
}

export async function inspect(
  session: Session,
  name: string,
  wanted: SnapshotVersion | undefined,
  options: ShardOptions,
): Promise<Outcome> {
  const opened = await openCollection(session, name);
  const shard = oneShard(opened.collection, options.shard);
  const history = await historyOf(opened, shard);
  const manifest = versionOf(history, name, shard, wanted ?? history.current);
  const { parent, ledger } = manifest;
  const rows = manifest.segments.map((segment) => [
    segment.id,
    segment.kind,
    segment.rows,
    segment.tombstones,
    segment.slots - segment.rows,
    bytes(segmentBytes(segment)),
  ]);
  const facts = pairs({
    version: `${manifest.version}${manifest.version === history.current ? " (current)" : ""}`,
    pins: pinNames(history.pins, manifest).join(", ") || "none",
    cause: manifest.cause,
    published: moment(manifest.createdAt),
    epoch: manifest.epoch,
    commit: manifest.commit,
    parent: parent === null ? "none" : `version ${parent.version}, commit ${parent.commit}`,
    size: bytes(snapshotBytes(manifest)),
    ledger: `${ledger.ingested.rows} rows came in, ${ledger.retired.rows} retired, ${ledger.ingested.rows - ledger.retired.rows} kept`,
    deltas: `${plural(manifest.applied.length, "ingested delta")} whose objects may still be there`,
    watermark: manifest.watermark,
  });
  const segments = table(["SEGMENT", "KIND", "ROWS", "TOMBSTONES", "DEAD SLOTS", "SIZE"], rows);
  return {
    value: { pins: pinNames(history.pins, manifest), manifest },
    text: `${name}/${shard}\n${facts}\n\n${segments}`,
  };
}

export async function diff(
  session: Session,
  name: string,
  from: SnapshotVersion,
  to: SnapshotVersion,
  options: ShardOptions,
): Promise<Outcome> {
  const opened = await openCollection(session, name);
  const shard = oneShard(opened.collection, options.shard);
  const history = await historyOf(opened, shard);
  const change = differenceOf(versionOf(history, name, shard, from), versionOf(history, name, shard, to));
  const rows = [
    ...change.removed.map((segment) => [
      "-",
      segment.id,
      segment.kind,
      segment.rows,
      segment.tombstones,
      bytes(segmentBytes(segment)),
    ]),
    ...change.added.map((segment) => [
      "+",
      segment.id,
      segment.kind,
      segment.rows,
      segment.tombstones,
      bytes(segmentBytes(segment)),
    ]),
  ];
  const signed = (count: number): string => (count > 0 ? `+${count}` : String(count));
  const facts = pairs({
    segments: `${change.kept} kept, ${change.added.length} added, ${change.removed.length} removed`,
    rows: `${signed(change.rows)} stored, ${signed(change.tombstones)} tombstones`,
    ledger: `${signed(change.ingestedRows)} rows came in, ${signed(change.retiredRows)} retired`,
    deltas: plural(change.deltas.length, "newly ingested delta"),
    bytes: `${change.bytes < 0 ? "-" : "+"}${bytes(Math.abs(change.bytes))}`,
    causes:
      change.causes.from === change.causes.to
        ? change.causes.to
        : `${change.causes.from} → ${change.causes.to}`,
  });
  const listed =
    rows.length === 0 ? "" : `\n\n${table(["", "SEGMENT", "KIND", "ROWS", "TOMBSTONES", "SIZE"], rows)}`;
  return {
    value: { collection: name, shard, from, to, ...change },
    text: `${name}/${shard}: version ${from} → ${to}\n${facts}${listed}`,
  };
}
