/** silt erase: deletes records, and says what S3 still holds of them, where, why and until when. */
import type { Command } from "commander";
import { shardOf } from "../../lib/core/model/shard-of.ts";
import { erasedMs, findTraces } from "../../lib/engine/operate/erasure.ts";
import { integer, openCollection } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { duration, moment, plural, table } from "./text.ts";

export function addEraseCommand(program: Command, run: Runner): void {
  program
    .command("erase")
    .description("delete records, and prove from S3 what of them is gone; run it again until all is")
    .argument("<name>")
    .argument("<id...>")
    .option(
      "--source-version <n>",
      "the source's version of the deletion (ordering source)",
      integer(0, Number.MAX_SAFE_INTEGER),
    )
    .action(run(erase));
}

async function erase(
  session: Session,
  name: string,
  ids: string[],
  { sourceVersion: version }: { sourceVersion?: number },
): Promise<Outcome> {
  const { deployment, world, collection } = await openCollection(session, name);
  const byShard = Map.groupBy(new Set(ids), (id) => shardOf(id, collection.shards));
  const look = () =>
    eachShard([...byShard.keys()], async (shard) => ({
      shard,
      ...(await findTraces(world, collection, shard, byShard.get(shard)!)),
    }));
  let found = await look();
  const deleted = found.done.flatMap(({ live }) => live);
  if (deleted.length > 0) {
    const deletes = version === undefined ? deleted : deleted.map((id) => ({ id, version }));
    await deployment.call("producer", { collection: name, deletes });
    found = await look();
  }
  const { done, failed } = found;
  const live = done.flatMap((one) => one.live);
  const traces = done.flatMap(({ shard, traces }) =>
    traces.map(({ goneByMs, ...trace }) => ({
      shard,
      ...trace,
      goneBy: goneByMs === null ? null : new Date(goneByMs).toISOString(),
    })),
  );
  const gone = traces.length + live.length + failed.length === 0;
  const rows = traces.map(({ key, ids: held, heldBy, goneBy }) => [
    key,
    held.join(", "),
    heldBy.join(", "),
    goneBy === null ? "until you act" : moment(goneBy),
  ]);
  const kept = traces.flatMap(({ heldBy }) => heldBy);
  const text = [
    ...(deleted.length > 0 ? [`deleted ${plural(deleted.length, "record")}`] : []),
    gone
      ? `nothing of ${plural(new Set(ids).size, "id")} is left in any object; noncurrent versions of the bucket go as its lifecycle rule says`
      : table(["OBJECT", "IDS", "HELD BY", "GONE BY"], rows),
    ...failed.map((one) => failureLine({ collection: name, shard: one.shard }, one)),
  ];
  return {
    value: { collection: name, gone, deleted, live, traces, failed },
    text: text.join("\n"),
    next: [
      ...(gone
        ? []
        : [
            `run it again: within ${duration(erasedMs)} of the deletion all of it is gone but what pins and quarantine keep`,
          ]),
      ...(live.length > 0
        ? [`${live.join(", ")} was written anew, or by a newer version: delete it again`]
        : []),
      ...(kept.some((by) => by.startsWith("pin "))
        ? [`a pin keeps what it pins: silt snapshot unpin ${name} PIN`]
        : []),
      ...(kept.includes("quarantine")
        ? [`put it back among the deltas, or delete the object: silt quarantine list ${name}`]
        : []),
    ],
    exitCode: gone ? exitCodes.ok : failed.length > 0 ? exitCodeOfFailures(failed) : exitCodes.unavailable,
  };
}
