/** silt compact | optimize: the compactor function, at once. */
import type { Command } from "commander";
import { checkExportedPath } from "../../lib/core/format/exported-snapshot.ts";
import { snapshotBytes } from "../../lib/core/format/manifest.ts";
import { checkCollectionName } from "../../lib/core/model/collection.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { supersededRows } from "../../lib/core/policy/merge-plan.ts";
import type { RunSummary, ShardSummary } from "../../lib/engine/compact/run-summary.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import type { TakenOver } from "../../lib/import/take-over.ts";
import { type Opened, openCollection, shardOption, shardsOf } from "./arguments.ts";
import { eachShard } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { bytes, plural, table } from "./text.ts";

/** Runs of the compactor that one `silt compact` asks for: each of them works for up to 15 minutes. */
const runsMax = 100;
/** Runs that met a lease in a row before giving up, and the wait between them. */
const busyRunsMax = 20;
const busyWaitMs = 3_000;

export function addCompactCommands(program: Command, run: Runner): void {
  program
    .command("compact")
    .description(
      "ingest, merge and collect garbage now, through the compactor function, until nothing is left",
    )
    .argument("[name]", "one collection; all by default")
    .addOption(shardOption())
    .option("--snapshot-path <prefix>", "take over what `silt export-chroma` wrote there, and ingest it")
    .action(run(compact));
  program
    .command("optimize")
    .description("merge now what the schedule would leave for later, and show the index before and after")
    .argument("<name>")
    .addOption(shardOption())
    .action(run(optimize));
}

type CompactorAnswer = RunSummary & { readonly migration?: TakenOver };

/** What several runs did to one shard. */
interface Done {
  deltas: number;
  rows: number;
  quarantined: number;
  merges: number;
  collectedObjects: number;
  last: ShardSummary;
}

async function compact(
  session: Session,
  name: string | undefined,
  { snapshotPath, ...options }: { shard?: number; snapshotPath?: string },
): Promise<Outcome> {
  if (name !== undefined) checkCollectionName(name);
  if (snapshotPath !== undefined) return migrate(session, name, { ...options, snapshotPath });
  const event = { source: "manual", ...(name === undefined ? {} : { collection: name }), ...options };
  return compactOutcome(await runCompactor(session, event, "compact"));
}

/** Run by run, until all of it is taken over and ingested. */
async function migrate(
  session: Session,
  name: string | undefined,
  { shard, snapshotPath }: { shard?: number; snapshotPath: string },
): Promise<Outcome> {
  if (name !== undefined || shard !== undefined)
    throw invalid("--snapshot-path: the exported snapshot says which collection takes it; name none");
  checkExportedPath("--snapshot-path", snapshotPath);
  const event = { source: "migration", snapshot_path: snapshotPath };
  const ran = await runCompactor(session, event, "migration");
  const outcome = compactOutcome(ran);
  const { rowsDone, rows, rejects, done } = ran.summary.migration!;
  return {
    ...outcome,
    text: [
      `took over ${rowsDone} of ${plural(rows, "row")} of ${snapshotPath} into ${ran.summary.migration!.collection}`,
      outcome.text,
    ].join("\n"),
    next: [
      ...(outcome.next ?? []),
      ...(rejects === null
        ? []
        : [`some were rejected; mend and import them: silt import NAME --from records:s3://…/${rejects}`]),
      ...(done ? [] : ["more is left: run it again"]),
    ],
    ...(rejects !== null && !outcome.exitCode ? { exitCode: exitCodes.failure } : {}),
  };
}

interface Ran {
  /** The summary of the last run. */
  readonly summary: CompactorAnswer;
  readonly runs: number;
  readonly done: readonly Done[];
  readonly isInterrupted: boolean;
}

/** Again and again, until nothing is left that it can do. */
async function runCompactor(session: Session, event: object, label: string): Promise<Ran> {
  const deployment = await session.open();
  const done = new Map<string, Done>();
  const progress = session.progress(label);
  let runs = 0;
  let busyRuns = 0;
  let total = 0;
  let summary: CompactorAnswer;
  try {
    do {
      summary = (await deployment.call("compactor", event)) as CompactorAnswer;
      runs += 1;
      for (const shard of summary.shards) add(done, shard);
      const ingested = summary.shards.reduce((sum, { deltas }) => sum + deltas, 0);
      total += ingested;
      progress.update(total, total + summary.pending, `${total} deltas ingested, ${summary.pending} left`);
      const busy = summary.shards.some(({ outcome }) => outcome === "busy");
      busyRuns = busy && ingested === 0 ? busyRuns + 1 : 0;
      if (busyRuns > 0 && busyRuns < busyRunsMax) await deployment.world.clock.sleep(busyWaitMs);
    } while (
      isUnfinished(summary) &&
      runs < runsMax &&
      busyRuns < busyRunsMax &&
      !session.interrupted.aborted
    );
  } finally {
    progress.stop();
  }
  const isInterrupted = session.interrupted.aborted && isUnfinished(summary);
  return { summary, runs, done: [...done.values()], isInterrupted };
}

/** A run in which a shard failed throws. */
const isUnfinished = ({ shards, migration }: CompactorAnswer): boolean =>
  migration?.done === false ||
  shards.some(({ outcome }) => ["busy", "outOfTime", "overtaken", "unseen"].includes(outcome));

function add(done: Map<string, Done>, shard: ShardSummary): void {
  const key = `${shard.collection}/${shard.shard}`;
  const before = done.get(key) ?? { deltas: 0, rows: 0, quarantined: 0, merges: 0, collectedObjects: 0 };
  done.set(key, {
    deltas: before.deltas + shard.deltas,
    rows: before.rows + shard.rows,
    quarantined: before.quarantined + shard.quarantined,
    merges: before.merges + shard.merges,
    collectedObjects: before.collectedObjects + shard.collectedObjects,
    last: shard,
  });
}

function compactOutcome({ summary, runs, done, isInterrupted }: Ran): Outcome {
  const shards = done.map(({ last, ...counts }) => ({ ...last, ...counts }));
  const rows = shards.map((shard) => [
    `${shard.collection}/${shard.shard}`,
    shard.outcome === "nothing" && shard.deltas + shard.merges > 0 ? "done" : shard.outcome,
    shard.version ?? "-",
    shard.deltas,
    shard.rows,
    shard.quarantined,
    shard.merges,
    shard.collectedObjects,
    shard.pending ?? "-",
  ]);
  const head = [
    "SHARD",
    "OUTCOME",
    "VERSION",
    "DELTAS",
    "ROWS",
    "QUARANTINED",
    "MERGES",
    "COLLECTED",
    "LEFT",
  ];
  const next = shards.flatMap(({ collection, shard, outcome, quarantined, left }) => [
    ...(outcome === "busy"
      ? [`another run holds ${collection}/${shard}: silt lease show ${collection}`]
      : []),
    ...(outcome === "outOfTime" || outcome === "unseen"
      ? [`${collection}/${shard} has more to do: run it again`]
      : []),
    ...(quarantined > 0 ? [`deltas were put aside: silt quarantine list ${collection}`] : []),
    ...(left
      ? [`${collection}/${shard}: ${plural(left.deltas, "delta")} left in the backlog: ${left.reason}`]
      : []),
  ]);
  const { messages } = summary;
  const busy = shards.some(({ outcome }) => outcome === "busy" || outcome === "overtaken");
  if (messages.deadLettered > 0)
    next.push(`${messages.deadLettered} messages are not notifications; they are in the dead-letter queue`);
  const text = rows.length === 0 ? "there is nothing to compact" : table(head, rows);
  return {
    value: { ...summary, runs, shards },
    text,
    next,
    exitCode: isInterrupted ? exitCodes.interrupted : busy ? exitCodes.conflict : exitCodes.ok,
  };
}

/** What a query meets in a shard, and what could be less. */
interface IndexState {
  readonly shard: number;
  readonly version: number;
  readonly flatSegments: number;
  readonly graphs: number;
  readonly rows: number;
  /** Slots of graphs and rows that a newer write of their id supersedes, as far as merges have counted. */
  readonly staleRows: number;
  readonly bytes: number;
}

/** Of the shards that can be read. */
async function indexStates(
  { world, collection }: Opened,
  shards: readonly number[],
): Promise<readonly IndexState[]> {
  const { done } = await eachShard(shards, async (shard) => {
    const { manifest } = await readHead(world.store, collection, shard);
    const flats = manifest.segments.filter(({ kind }) => kind === "flat").length;
    const stale = manifest.segments.map((one) => one.slots - one.rows + supersededRows(manifest, one));
    return {
      shard,
      version: manifest.version,
      flatSegments: flats,
      graphs: manifest.segments.length - flats,
      rows: manifest.segments.reduce((sum, { rows }) => sum + rows, 0),
      staleRows: stale.reduce((sum, count) => sum + count, 0),
      bytes: snapshotBytes(manifest),
    };
  });
  return done;
}

async function optimize(session: Session, name: string, options: { shard?: number }): Promise<Outcome> {
  const opened = await openCollection(session, name);
  const shards = shardsOf(opened.collection, options.shard);
  const before = await indexStates(opened, shards);
  const ran = await runCompactor(session, { source: "optimize", collection: name, ...options }, "optimize");
  const after = await indexStates(opened, shards);
  const { next = [], exitCode } = compactOutcome(ran);
  const merges = ran.done.reduce((sum, one) => sum + one.merges, 0);
  const change = (of: (state: IndexState) => string | number) => (shard: number) => {
    const [was, is] = [before, after].map((states) => states.find((state) => state.shard === shard));
    if (was === undefined || is === undefined) return "-";
    return of(was) === of(is) ? String(of(is)) : `${of(was)} → ${of(is)}`;
  };
  const columns = [
    change(({ version }) => version),
    change(({ flatSegments }) => flatSegments),
    change(({ graphs }) => graphs),
    change(({ rows }) => rows),
    change(({ staleRows }) => staleRows),
    change((state) => bytes(state.bytes)),
  ];
  return {
    value: { collection: name, merges, runs: ran.runs, before, after },
    text: [
      table(
        ["SHARD", "VERSION", "FLAT", "GRAPHS", "ROWS", "STALE", "SIZE"],
        shards.map((shard) => [`${name}/${shard}`, ...columns.map((column) => column(shard))]),
      ),
      "",
      merges > 0
        ? `merged ${plural(merges, "time")}`
        : exitCode === undefined || exitCode === exitCodes.ok
          ? "there was nothing to merge"
          : "nothing was merged",
    ].join("\n"),
    next,
    ...(exitCode === undefined ? {} : { exitCode }),
  };
}
