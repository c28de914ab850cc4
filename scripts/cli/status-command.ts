/** silt status: what is published, what waits, and what is wrong, on one screen. */
import type { Command } from "commander";
import pLimit from "p-limit";
import type { Collection } from "../../lib/core/model/collection.ts";
import { listCollections } from "../../lib/engine/catalog/collections.ts";
import { runNote } from "../../lib/engine/compact/run-summary.ts";
import { Faults } from "../../lib/engine/faults.ts";
import { type ShardStatus, shardStatus } from "../../lib/engine/operate/status.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Strangers, seeBesideShards } from "../../lib/engine/shard/strangers.ts";
import { openCollection, shardsOf } from "./arguments.ts";
import { unreadableAdvice, unreadableOf } from "./collection-commands.ts";
import { exitCodeOfFailures } from "./each-shard.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { adviceFor, adviceForRun, adviceForStrangers } from "./status-advice.ts";
import { bytes, duration, moment, table } from "./text.ts";

const head = [
  ...["SHARD", "VERSION", "PUBLISHED", "SEGMENTS", "ROWS", "SIZE"],
  ...["BACKLOG", "OLDEST", "QUARANTINE", "LEASE", "LAST RUN"],
];

/** Shards looked at side by side. */
const concurrency = 8;
/** What a status says nothing beyond. */
const checked =
  "pointers, newest manifests, the sizes of their files, backlogs, leases, last runs; " +
  "`silt verify NAME` proves contents";

export function addStatusCommand(program: Command, run: Runner): void {
  program
    .command("status")
    .description("backlog, versions, sizes, leases and last runs, with advice for what is wrong")
    .argument("[name]", "one collection; all by default")
    .action(run(status));
}

/** What there is of one collection, or of all. */
async function lookAround(session: Session, world: World, name: string | undefined) {
  const { collections, unreadable, strangers } =
    name === undefined
      ? await listCollections(world.store)
      : { collections: [(await openCollection(session, name)).collection], unreadable: [], strangers: [] };
  const limit = pLimit(concurrency);
  const shards = await Promise.all(
    collections.flatMap((collection) =>
      shardsOf(collection, undefined).map((shard) => limit(() => shardStatus(world, collection, shard))),
    ),
  );
  const faults = new Faults();
  const lastRun = await faults.attempt("last run", () => world.leases.readNote(runNote));
  const seen = new Strangers();
  for (const key of strangers) seen.see(key);
  for (const shard of shards) seen.add(shard.strangers);
  const seeBeside = (collection: Collection) =>
    faults.attempt(`what lies beside the shards of ${collection.name}`, () =>
      seeBesideShards(world.store, collection, seen.see),
    );
  await Promise.all(collections.map((collection) => limit(() => seeBeside(collection))));
  faults.throwUnexpected();
  return { collections, unreadable, shards, lastRun, faults: faults.list, strangers: seen.found };
}

async function status(session: Session, name: string | undefined): Promise<Outcome> {
  const { stage, world } = await session.open();
  const { collections, unreadable, ...found } = await lookAround(session, world, name);
  const { shards, lastRun, faults, strangers } = found;
  if (collections.length + unreadable.length === 0) {
    return {
      value: { environment: stage, lastRun, shards, unreadable: [], strangers, advice: [] },
      text: "there are no collections",
      next: [
        ...adviceForStrangers(strangers),
        "make one: silt collection create docs --dims 384 --metric cosine",
      ],
    };
  }
  const nowMs = world.clock.nowMs();
  const advice = [
    ...unreadable.map(unreadableAdvice),
    ...faults.map(({ part, message }) => `${part} cannot be read: ${message}`),
    ...adviceForRun(lastRun, new Set(unreadable.map((one) => `collection ${one.name}`))),
    ...shards.flatMap(adviceFor),
    ...adviceForStrangers(strangers),
  ];
  const wrong = [
    ...unreadable.map(({ error }) => error),
    ...faults,
    ...shards.flatMap((shard) => shard.faults),
  ];
  return {
    value: {
      environment: stage,
      lastRun,
      shards,
      unreadable: unreadable.map(unreadableOf),
      strangers,
      advice,
    },
    text: [
      `${stage}, ${moment(new Date(nowMs).toISOString())}; compactor: ${runText(lastRun, nowMs)}`,
      "",
      table(head, [
        ...shards.map((shard) => rowOf(shard, nowMs)),
        ...unreadable.map((one) => [one.name, "DAMAGED", ...head.slice(2).map(() => "-")]),
      ]),
      "",
      ...(advice.length === 0 ? [`in order, as far as this looks: ${checked}`] : []),
    ].join("\n"),
    next: advice,
    exitCode: exitCodeOfFailures(wrong),
  };
}

/** What could not be looked at. */
const unknown = "?";

function rowOf(status: ShardStatus, nowMs: number): (string | number)[] {
  const { snapshot, backlog, faults } = status;
  const isDamaged = faults.some(
    ({ part, kind }) => kind === "corrupt" && (part === "snapshot" || part === "files"),
  );
  const version = [snapshot?.version ?? [], isDamaged ? "DAMAGED" : []].flat().join(" ") || unknown;
  const published =
    snapshot === null || snapshot.version === 0
      ? "never"
      : `${duration(ageOf(snapshot.publishedAt, nowMs))} ago`;
  const leases = status.held.map(({ kind, epoch }) => `${kind} (epoch ${epoch})`).join(", ") || "free";
  return [
    `${status.collection}/${status.shard}`,
    version,
    ...(snapshot === null
      ? [unknown, unknown, unknown, unknown]
      : [published, snapshot.segments, snapshot.rows, bytes(snapshot.bytes)]),
    backlog === null ? unknown : backlogText(backlog),
    backlog === null ? unknown : backlog.oldestMs === null ? "-" : duration(backlog.oldestMs),
    status.quarantined ?? unknown,
    faults.some(({ part }) => part === "leases") ? unknown : leases,
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
