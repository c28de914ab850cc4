/** silt status: what is published, what waits, and what is wrong, on one screen. */
import { type Command, Option } from "commander";
import type { ShardStatus } from "../../lib/engine/operate/status.ts";
import { integer } from "./arguments.ts";
import { unreadableOf } from "./collection-commands.ts";
import { exitCodeOfFailures } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { judged, storeState } from "./store-state.ts";
import { bytes, duration, moment, table } from "./text.ts";

const head = [
  ...["SHARD", "VERSION", "PUBLISHED", "SEGMENTS", "ROWS", "SIZE"],
  ...["BACKLOG", "OLDEST", "QUARANTINE", "LEASE", "LAST RUN"],
];

const watchSecondsDefault = 5;
/** What a status says nothing beyond. */
const checked =
  "pointers, newest manifests, the sizes of their files, backlogs, leases, last runs, dead letters, the views of one query process; " +
  "`silt verify NAME` proves contents";

export function addStatusCommand(program: Command, run: Runner): void {
  program
    .command("status")
    .description("backlog, versions, sizes, leases and last runs, with advice for what is wrong")
    .argument("[name]", "one collection; all by default")
    .addOption(
      new Option("--watch [seconds]", "again and again, every 5 seconds, until Ctrl-C")
        .argParser(integer(1, 3_600))
        .preset(watchSecondsDefault),
    )
    .action(run(watched));
}

async function watched(
  session: Session,
  name: string | undefined,
  { watch }: { watch?: number },
): Promise<Outcome> {
  if (watch === undefined) return status(session, name);
  const { world } = await session.open();
  for (;;) {
    const outcome = await status(session, name);
    if (session.interrupted.aborted) return outcome;
    session.write(outcome);
    for (let second = 0; second < watch && !session.interrupted.aborted; second++)
      await world.clock.sleep(1_000);
  }
}

async function status(session: Session, name: string | undefined): Promise<Outcome> {
  const { stage, world } = await session.open();
  const state = await storeState(session, name);
  const { collections, unreadable, shards, lastRun, strangers, deadLetters, views } = state;
  const { advice, isDegraded, wrong } = judged(state);
  const value = {
    environment: stage,
    lastRun,
    shards,
    unreadable: unreadable.map(unreadableOf),
    strangers,
    deadLetters,
    views,
    advice,
  };
  const exitCode = wrong.length === 0 && isDegraded ? exitCodes.failure : exitCodeOfFailures(wrong);
  if (collections.length + unreadable.length === 0)
    return {
      value,
      text: "there are no collections",
      next: [...advice, "make one: silt collection create docs --dims 384 --metric cosine"],
      exitCode,
    };
  const nowMs = world.clock.nowMs();
  return {
    value,
    text: [
      `${stage}, ${moment(new Date(nowMs).toISOString())}; compactor: ${runText(lastRun, nowMs)}; dead letters: ${deadLetters ?? unknown}`,
      "",
      table(head, [
        ...shards.map((shard) => rowOf(shard, nowMs)),
        ...unreadable.map((one) => [one.name, "DAMAGED", ...head.slice(2).map(() => "-")]),
      ]),
      "",
      ...(advice.length === 0 ? [`in order, as far as this looks: ${checked}`] : []),
    ].join("\n"),
    next: advice,
    exitCode,
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
