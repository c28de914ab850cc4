/** silt snapshot list | inspect | diff | pin | unpin | rollback | repair */
import type { Command } from "commander";
import { pinKey } from "../../lib/core/format/keys.ts";
import { type Manifest, segmentBytes, snapshotBytes } from "../../lib/core/format/manifest.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import {
  listManifests,
  listPins,
  noVersion,
  type Pin,
  pinVersion,
  publishedChain,
  readManifest,
  unpin,
} from "../../lib/engine/shard/history.ts";
import { integer, type Opened, oneShard, openCollection, shardOption, shardsOf } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { differenceOf } from "./snapshot-difference.ts";
import { bytes, moment, pairs, plural, table } from "./text.ts";

interface ShardOptions {
  readonly shard?: number;
}
const version = integer(0, Number.MAX_SAFE_INTEGER);

export function addSnapshotCommands(program: Command, run: Runner): void {
  const snapshot = program.command("snapshot").description("the kept versions of a collection's shards");
  const add = (name: string, description: string): Command =>
    snapshot.command(name).description(description).argument("<name>").addOption(shardOption());
  add("list", "every kept version, newest first").action(run(list));
  add("inspect", "one version in full; the current one by default")
    .argument("[version]", "", version)
    .action(run(inspect));
  add("diff", "what changed between two kept versions")
    .argument("<from>", "", version)
    .argument("<to>", "", version)
    .action(run(diff));
  add("pin", "keep a version, whatever its age")
    .argument("<version>", "", version)
    .option("--as <pin>", "the pin's name (default: v and the version)")
    .action(run(pin));
  add("unpin", "give a pinned version free").argument("<pin>").action(run(removePin));
  add("rollback", "make a kept version the newest one: takes back every write ingested since")
    .argument("<version>", "", version)
    .action(run(goBack));
  add("repair", "write a lost pointer anew").action(run(repair));
}

interface History {
  readonly chain: readonly Manifest[];
  readonly pins: readonly Pin[];
  readonly current: number;
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

async function list(session: Session, name: string, options: ShardOptions): Promise<Outcome> {
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

function versionOf(history: History, collection: string, shard: number, wanted: number): Manifest {
  const found = history.chain.find((manifest) => manifest.version === wanted);
  if (found) return found;
  throw noVersion({ collection, shard }, wanted, history.chain);
}

async function inspect(
  session: Session,
  name: string,
  wanted: number | undefined,
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

async function diff(
  session: Session,
  name: string,
  from: number,
  to: number,
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

async function pin(
  session: Session,
  name: string,
  wanted: number,
  options: ShardOptions & { as?: string },
): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const shard = oneShard(collection, options.shard);
  const made = await pinVersion(world, () => readHead(world.store, collection, shard), {
    name: options.as ?? `v${wanted}`,
    version: wanted,
  });
  return {
    value: { shard, pin: made },
    text: `pinned version ${made.version} of ${name}/${shard} as ${made.name}: garbage collection keeps it`,
    next: [
      `remove the pin: silt snapshot unpin ${name} ${made.name}${shardArgument(collection.shards, shard)}`,
    ],
  };
}

const shardArgument = (shards: number, shard: number): string => (shards > 1 ? ` --shard ${shard}` : "");

async function removePin(
  session: Session,
  name: string,
  pinName: string,
  options: ShardOptions,
): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const shard = oneShard(collection, options.shard);
  const ref = { collection: name, shard };
  // By its key alone: a damaged pin must go as well.
  if ((await world.store.head(pinKey(ref, pinName))) === null)
    throw new SiltstoneError(
      "notFound",
      `${name}/${shard} has no pin ${pinName}; \`silt snapshot list ${name}\` shows them`,
    );
  await unpin(world.store, ref, pinName);
  return {
    value: { shard, unpinned: pinName },
    text: `${name}/${shard} no longer has the pin ${pinName}; the next garbage collection run may delete what it kept`,
  };
}

async function goBack(
  session: Session,
  name: string,
  wanted: number,
  options: ShardOptions,
): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const shard = oneShard(collection, options.shard);
  const before = await readHead(world.store, collection, shard);
  const { version: now, outcome } = await rollback(world, collection, shard, wanted);
  const moved = outcome === "done";
  return {
    value: { shard, from: before.manifest.version, to: wanted, version: now, moved },
    text: moved
      ? `${name}/${shard}: version ${now} has the content of version ${wanted}; writes ingested since then are taken back`
      : `${name}/${shard}: version ${wanted} is current already`,
    ...(moved
      ? {
          next: [
            `look: silt count ${name} (functions see it within their refresh time)`,
            `undo it: silt snapshot rollback ${name} ${before.manifest.version}${shardArgument(collection.shards, shard)}`,
          ],
        }
      : {}),
  };
}

async function repair(session: Session, name: string, options: ShardOptions): Promise<Outcome> {
  const { world, collection } = await openCollection(session, name);
  const { done: repairs, failed } = await eachShard(shardsOf(collection, options.shard), async (shard) => ({
    shard,
    ...(await repairPointer(world, collection, shard)),
  }));
  const damaged = repairs.filter(({ missingFiles }) => missingFiles > 0);
  return {
    value: { collection: name, repairs, failed },
    text: [
      ...repairs.map(({ shard, outcome, version: now, missingFiles, left }) =>
        outcome === "intact"
          ? `${name}/${shard}: its pointer is there, at version ${now}; nothing was changed`
          : `${name}/${shard}: wrote its pointer anew, at version ${now}` +
            (missingFiles > 0 ? `, of which ${plural(missingFiles, "file")} are missing` : "") +
            left
              .map(({ delta, bytes }) => `; ${delta} was left: it has ${bytes} bytes, more than a delta`)
              .join(""),
      ),
      ...failed.map((one) => failureLine({ collection: name, shard: one.shard }, one)),
    ].join("\n"),
    next: [
      `prove it: silt verify ${name}`,
      ...damaged.map(
        ({ shard }) =>
          "restore the missing files from the bucket's noncurrent versions, or go back to a whole version: " +
          `silt snapshot list ${name} --shard ${shard}`,
      ),
    ],
    exitCode: damaged.length > 0 ? exitCodes.corrupt : exitCodeOfFailures(failed),
  };
}
