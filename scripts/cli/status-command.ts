/** silt status: what is published, what waits, and what is wrong, on one screen. */
import type { Command } from "commander";
import pLimit from "p-limit";
import { listCollections } from "../../lib/engine/collections.ts";
import { runNote } from "../../lib/engine/run-summary.ts";
import { type ShardStatus, shardStatus } from "../../lib/engine/status.ts";
import { openCollection, shardsOf } from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./program.ts";
import type { Session } from "./session.ts";
import { bytes, duration, moment, table } from "./text.ts";

/** Shards looked at side by side. */
const concurrency = 8;
/** The compactor runs every minute: a delta that waited for five was passed over. */
const lateMs = 5 * 60_000;
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
  const collections =
    name === undefined
      ? await listCollections(world.store)
      : [(await openCollection(session, name)).collection];
  if (collections.length === 0) {
    return {
      value: { environment: deployment.environment, lastRun: null, shards: [], advice: [] },
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
  const lastRun = await world.leases.readNote(runNote);
  const nowMs = world.clock.nowMs();
  const advice = shards.flatMap(adviceFor);
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
    value: { environment: deployment.environment, lastRun, shards, advice },
    text: [
      `${deployment.environment}, ${moment(new Date(nowMs).toISOString())}; compactor: ${runText(lastRun, nowMs)}`,
      "",
      table(
        head,
        shards.map((shard) => rowOf(shard, nowMs)),
      ),
      ...(advice.length === 0 ? ["", "everything is in order"] : [""]),
    ].join("\n"),
    next: advice,
    ...(shards.some(({ fault }) => fault !== null) ? { exitCode: exitCodes.corrupt } : {}),
  };
}

function rowOf(status: ShardStatus, nowMs: number): (string | number)[] {
  const { snapshot, backlog } = status;
  const name = `${status.collection}/${status.shard}`;
  const lock = status.held.map(({ kind, epoch }) => `${kind} (epoch ${epoch})`).join(", ") || "free";
  const last = runText(status.lastRun, nowMs);
  if (snapshot === null || backlog === null) {
    return [name, "DAMAGED", "-", "-", "-", "-", "-", "-", status.quarantined, lock, last];
  }
  const published = snapshot.version === 0 ? "never" : `${duration(ageOf(snapshot.publishedAt, nowMs))} ago`;
  const oldest = backlog.oldestMs === null ? "-" : duration(backlog.oldestMs);
  const deltas =
    backlog.deltas === 0 ? "0" : `${backlog.deltas}${backlog.more ? "+" : ""} (${bytes(backlog.bytes)})`;
  const { version, segments, rows } = snapshot;
  return [
    name,
    version,
    published,
    segments,
    rows,
    bytes(snapshot.bytes),
    deltas,
    oldest,
    status.quarantined,
    lock,
    last,
  ];
}

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
  const { collection, shard, snapshot, backlog, quarantined, held, lastRun, fault } = status;
  const name = `${collection}/${shard}`;
  const advice: string[] = [];
  if (fault !== null) {
    advice.push(`${name} is damaged: ${fault}`);
    if (!fault.includes("silt ")) advice.push(`see all of it: silt verify ${collection}`);
  }
  if (backlog?.oldestMs != null && backlog.oldestMs > lateMs) {
    const holder = held.find(({ kind }) => kind === "ingest");
    const why = holder
      ? `epoch ${holder.epoch} holds its lock: silt lock show ${collection}`
      : `compact now: silt compact ${collection}`;
    advice.push(`${name}: its oldest delta has waited for ${duration(backlog.oldestMs)}; ${why}`);
  }
  if (quarantined > 0) {
    advice.push(
      `${name}: ${quarantined} unreadable deltas were put aside: silt quarantine list ${collection}`,
    );
  }
  if (lastRun?.outcome === "failed") {
    const { kind, message } = (lastRun.error ?? {}) as { kind?: string; message?: string };
    advice.push(`${name}: the last run failed (${kind}): ${message}`);
  }
  if (snapshot !== null && snapshot.flatSegments > flatSegmentsMany) {
    advice.push(
      `${name}: ${snapshot.flatSegments} small segments wait to be merged: silt compact ${collection}`,
    );
  }
  return advice;
}
