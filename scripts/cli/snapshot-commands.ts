/** silt snapshot: the table of its commands, and those that change something (pin, unpin, rollback, repair). */
import type { Command } from "commander";
import { pinKey } from "../../lib/core/format/keys.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { type SnapshotVersion, snapshotVersion, versionMax } from "../../lib/core/model/ids.ts";
import { repairPointer } from "../../lib/engine/operate/repair.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { pinVersion, unpin } from "../../lib/engine/shard/history.ts";
import { integer, oneShard, openCollection, shardOption, shardsOf } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { diff, inspect, listVersions, type ShardOptions } from "./snapshot-views.ts";
import { plural } from "./text.ts";

const version = (text: string) => snapshotVersion(integer(0, versionMax)(text));

export function addSnapshotCommands(program: Command, run: Runner): void {
  const snapshot = program.command("snapshot").description("the kept versions of a collection's shards");
  const add = (name: string, description: string): Command =>
    snapshot.command(name).description(description).argument("<name>").addOption(shardOption());
  add("list", "every kept version, newest first").action(run(listVersions));
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

async function pin(
  session: Session,
  name: string,
  wanted: SnapshotVersion,
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
  wanted: SnapshotVersion,
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
