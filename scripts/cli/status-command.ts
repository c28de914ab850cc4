/** silt status: what is published, what waits, and what is wrong, on one screen. */
import type { Command } from "commander";
import pLimit from "p-limit";
import { listCollections } from "../../lib/engine/collections.ts";
import { Faults } from "../../lib/engine/faults.ts";
import { runNote } from "../../lib/engine/run-summary.ts";
import { type ShardStatus, shardStatus } from "../../lib/engine/status.ts";
import { sweepMs } from "../../lib/engine/sweep.ts";
import { openCollection, shardsOf } from "./arguments.ts";
import { unreadableAdvice, unreadableOf } from "./collection-commands.ts";
import { exitCodeOfFailures } from "./each-shard.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./program.ts";
import type { Session } from "./session.ts";
import { bytes, duration, moment, table } from "./text.ts";

/** Shards looked at side by side. */
const concurrency = 8;
/** The compactor finds a delta without its message within ten minutes and a run: one that waited for longer was passed over. */
const lateMs = sweepMs + 5 * 60_000;
/** Upkeep runs every five minutes and merges beyond eight flat segments. */
const flatSegmentsMany = 24;

export function addStatusCommand(program: Command, run: Runner): void {
  program
    .command("status")
    .description("backlog, versions, sizes, locks and last runs, with advice for what is wrong")
    .argument("[name]", "one collection; all by default")
    .action(run(status));
}

async function status(session: Session, name: string | undefined): Promise<Outcome> {
  const deployment = await session.open();
  const { world } = deployment;
  const { collections, unreadable } =
    name === undefined
      ? await listCollections(world.store)
      : { collections: [(await openCollection(session, name)).collection], unreadable: [] };
  if (collections.length + unreadable.length === 0) {
    return {
      value: { environment: deployment.environment, lastRun: null, shards: [], unreadable: [], advice: [] },
      text: "there are no collections",
      next: ["make one: silt collection create docs --dims 384 --metric cosine"],
    };
  }
  const limit = pLimit(concurrency);
  const shards = await Promise.all(
    collections.flatMap((collection) =>
      shardsOf(collection, undefined).map((shard) => limit(() => shardStatus(world, collection, shard))),
    ),
  );
  const faults = new Faults();
  const lastRun = await faults.attempt("last run", () => world.leases.readNote(runNote));
  faults.throwUnexpected();
  const nowMs = world.clock.nowMs();
  const advice = [
    ...unreadable.map(unreadableAdvice),
    ...faults.list.map(({ message }) => `what the last run did cannot be read: ${message}`),
    ...shards.flatMap(adviceFor),
  ];
  const wrong = [
    ...unreadable.map(({ error }) => error),
    ...faults.list,
    ...shards.flatMap((shard) => shard.faults),
  ];
  const head = [
    "SHARD",
    "VERSION",
    "PUBLISHED",
    "SEGMENTS",
    "ROWS",
    "SIZE",
    "BACKLOG",
    "OLDEST",
    "QUARANTINE",
    "LOCK",
    "LAST RUN",
  ];
  return {
    value: {
      environment: deployment.environment,
      lastRun,
      shards,
      unreadable: unreadable.map(unreadableOf),
      advice,
    },
    text: [
      `${deployment.environment}, ${moment(new Date(nowMs).toISOString())}; compactor: ${runText(lastRun, nowMs)}`,
      "",
      table(head, [
        ...shards.map((shard) => rowOf(shard, nowMs)),
        ...unreadable.map((one) => [one.name, "DAMAGED", ...head.slice(2).map(() => "-")]),
      ]),
      ...(advice.length === 0 ? ["", "everything is in order"] : [""]),
    ].join("\n"),
    next: advice,
    exitCode: exitCodeOfFailures(wrong),
  };
}

/** What could not be looked at. */
const unknown = "?";

function rowOf(status: ShardStatus, nowMs: number): (string | number)[] {
  const { snapshot, backlog, faults } = status;
  const isDamaged = faults.some(({ part, kind }) => part === "snapshot" && kind === "corrupt");
  const published =
    snapshot === null || snapshot.version === 0
      ? "never"
      : `${duration(ageOf(snapshot.publishedAt, nowMs))} ago`;
  const locks = status.held.map(({ kind, epoch }) => `${kind} (epoch ${epoch})`).join(", ") || "free";
  return [
    `${status.collection}/${status.shard}`,
    ...(snapshot === null
      ? [isDamaged ? "DAMAGED" : unknown, unknown, unknown, unknown, unknown]
      : [snapshot.version, published, snapshot.segments, snapshot.rows, bytes(snapshot.bytes)]),
    backlog === null ? unknown : backlogText(backlog),
    backlog === null ? unknown : backlog.oldestMs === null ? "-" : duration(backlog.oldestMs),
    status.quarantined ?? unknown,
    faults.some(({ part }) => part === "locks") ? unknown : locks,
    faults.some(({ part }) => part === "last run") ? unknown : runText(status.lastRun, nowMs),
  ];
}

const backlogText = ({ deltas, more, bytes: size }: NonNullable<ShardStatus["backlog"]>): string =>
  deltas === 0 ? "0" : `${deltas}${more ? "+" : ""} (${bytes(size)})`;

const ageOf = (iso: unknown, nowMs: number): number => Math.max(0, nowMs - Date.parse(String(iso)));

/** A note is for people and has no promised shape: what is missing in it is not shown. */
function runText(note: Readonly<Record<string, unknown>> | null, nowMs: number): string {
  if (note === null) return "no run yet";
  const { startedAt, outcome, source, failed } = note;
  const when = typeof startedAt === "string" ? ` ${duration(ageOf(startedAt, nowMs))} ago` : "";
  const how = outcome ?? (typeof failed === "number" && failed > 0 ? `${failed} failed` : "ran");
  return `${how}${when}${typeof source === "string" ? ` (${source})` : ""}`;
}

function adviceFor(status: ShardStatus): string[] {
  const { collection, shard, snapshot, backlog, quarantined, held, lastRun, faults } = status;
  const name = `${collection}/${shard}`;
  const advice: string[] = [];
  for (const { part, kind, message } of faults) {
    const isDamaged = part === "snapshot" && kind === "corrupt";
    advice.push(isDamaged ? `${name} is damaged: ${message}` : `${name}: ${part} cannot be read: ${message}`);
    if (isDamaged && !message.includes("silt ")) advice.push(`see all of it: silt verify ${collection}`);
  }
  if (backlog?.oldestMs != null && backlog.oldestMs > lateMs) {
    const holder = held.find(({ kind }) => kind === "ingest");
    const why = holder
      ? `epoch ${holder.epoch} holds its lock: silt lock show ${collection}`
      : `compact now: silt compact ${collection}`;
    advice.push(`${name}: its oldest delta has waited for ${duration(backlog.oldestMs)}; ${why}`);
  }
  if (quarantined !== null && quarantined > 0) {
    advice.push(
      `${name}: ${quarantined} unreadable deltas were put aside: silt quarantine list ${collection}`,
    );
  }
  if (lastRun?.outcome === "failed") {
    const { kind, message } = (lastRun.error ?? {}) as { kind?: string; message?: string };
    advice.push(`${name}: the last run failed (${kind}): ${message}`);
  }
  const left = lastRun?.left as { deltas?: number; reason?: string } | undefined;
  if (left !== undefined && backlog !== null && backlog.deltas > 0)
    advice.push(`${name}: the last run left ${left.deltas} of its deltas unmerged: ${left.reason}`);
  if (snapshot !== null && snapshot.flatSegments > flatSegmentsMany) {
    advice.push(
      `${name}: ${snapshot.flatSegments} small segments wait to be merged: silt compact ${collection}`,
    );
  }
  return advice;
}
