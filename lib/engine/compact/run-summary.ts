/**
 * What one run of the compactor did, in a size that fits an answer, a log line and a note: counts instead of lists. The
 * run and every shard that it did something for are noted beside the leases, for people (`silt status`).
 */
import pLimit from "p-limit";
import type { CompactorSource } from "../../contract/names.ts";
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { Fault } from "../faults.ts";
import type { LeaseTable } from "../ports.ts";
import { shardRunNote } from "../shard/lease.ts";
import type { StrangersFound } from "../shard/strangers.ts";
import type { CompactReport } from "./compact.ts";
import type { ShardReport } from "./shard-reports.ts";

/** Shards of one answer, at some 300 bytes each; those where something happened come first. */
const shardsShownMax = 5_000;
/** Faults beside shards that a summary shows: a damaged bucket may have one for each collection. */
const faultsShownMax = 100;
const faultCharsMax = 1_000;
const strangersShownMax = 20;
const noteConcurrency = 8;

/** `unseen`: the run's time was over before it looked there. */
export type ShardOutcome = "nothing" | "unseen" | "done" | "outOfTime" | "busy" | "overtaken" | "failed";

export interface ShardSummary extends ShardRef {
  readonly outcome: ShardOutcome;
  /** Version after the run; null when it was not read. */
  readonly version: number | null;
  readonly milliseconds: number;
  /** Segments of its version, where the run ingested. */
  readonly segments?: number;
  readonly deltas: number;
  readonly rows: number;
  readonly quarantined: number;
  /** Deltas of the backlog that are left; null when the run did not look. */
  readonly pending: number | null;
  readonly oldestPendingSeconds: number | null;
  /** Deltas of the backlog that the run could do nothing about, and why the oldest of them. */
  readonly left?: { readonly deltas: number; readonly reason: string };
  readonly merges: number;
  readonly collectedObjects: number;
  readonly collectedBytes: number;
  readonly error?: { readonly kind: string; readonly message: string };
}

export interface RunSummary {
  readonly source: CompactorSource;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly milliseconds: number;
  readonly shards: readonly ShardSummary[];
  /** Shards that the list above leaves out. */
  readonly shardsOmitted: number;
  /** Shards that were not looked at, since their turn had not come. */
  readonly resting: number;
  /** Shards that failed. */
  readonly failed: number;
  /** What failed beside shards, and how many more such faults there are. */
  readonly faults: readonly Fault[];
  readonly faultsOmitted: number;
  /** Objects that the run met and that are not the product's: how many, and the first of them. */
  readonly strangers: StrangersFound;
  readonly messages: CompactReport["messages"];
  readonly pending: number;
}

export function summarizeRun(
  report: CompactReport,
  run: { source: CompactorSource; startMs: number; endMs: number },
): RunSummary {
  const all = report.shards.map((shard) => summarizeShard(shard, run.endMs));
  const shards = [...all.filter(isEventful), ...all.filter((shard) => !isEventful(shard))];
  return {
    source: run.source,
    startedAt: new Date(run.startMs).toISOString(),
    milliseconds: run.endMs - run.startMs,
    shards: shards.slice(0, shardsShownMax),
    shardsOmitted: Math.max(0, shards.length - shardsShownMax),
    resting: report.resting,
    failed: all.filter(({ outcome }) => outcome === "failed").length,
    faults: report.faults
      .slice(0, faultsShownMax)
      .map(({ message, ...rest }) => ({ ...rest, message: message.slice(0, faultCharsMax) })),
    faultsOmitted: Math.max(0, report.faults.length - faultsShownMax),
    strangers: { ...report.strangers, keys: report.strangers.keys.slice(0, strangersShownMax) },
    messages: report.messages,
    pending: report.pending,
  };
}

function summarizeShard(report: ShardReport, nowMs: number): ShardSummary {
  const { collection, shard, milliseconds, look, ingest, merge, collect, error } = report;
  const oldestMs = ingest?.oldestPendingMs ?? null;
  const idleVersion = look?.kind === "idle" ? look.version : null;
  return {
    collection,
    shard,
    outcome: outcomeOf(report),
    version: merge?.version ?? ingest?.version ?? idleVersion,
    milliseconds,
    ...(ingest ? { segments: ingest.segments } : {}),
    deltas: ingest?.deltas ?? 0,
    rows: ingest?.rows ?? 0,
    quarantined: ingest?.quarantined ?? 0,
    pending: ingest?.pending.length ?? (look?.kind === "idle" ? 0 : null),
    oldestPendingSeconds: oldestMs === null ? null : Math.max(0, (nowMs - oldestMs) / 1000),
    merges: merge?.merges.length ?? 0,
    collectedObjects: collect?.outcome === "done" ? collect.keys.length : 0,
    collectedBytes: collect?.outcome === "done" ? collect.bytes : 0,
    ...(ingest?.left[0] ? { left: { deltas: ingest.left.length, reason: ingest.left[0].reason } } : {}),
    ...(error ? { error } : {}),
  };
}

/** The part that needs attention most stands for the whole. */
function outcomeOf({ look, ingest, merge, collect, error }: ShardReport): ShardOutcome {
  if (error) return "failed";
  const outcomes = [ingest?.outcome, merge?.outcome, collect?.outcome];
  if (outcomes.includes("outOfTime")) return "outOfTime";
  if (outcomes.includes("busy")) return "busy";
  if (outcomes.some((one) => one === "fenced" || one === "overtaken" || one === "conflict"))
    return "overtaken";
  const worked =
    ingest?.deltas ||
    ingest?.quarantined ||
    ingest?.left.length ||
    merge?.merges.length ||
    collect?.keys.length;
  if (look?.kind === "unseen") return worked ? "outOfTime" : "unseen";
  return worked ? "done" : "nothing";
}

export const isEventful = ({ outcome }: ShardSummary): boolean =>
  outcome !== "nothing" && outcome !== "unseen";

/** What a run with failures fails with, once all else is done; null when there are none. */
export function failureOf({ shards, failed, faults, faultsOmitted }: RunSummary): SiltstoneError | null {
  const problems = [
    ...shards.flatMap(({ collection, shard, error }) =>
      error ? [{ ...error, part: shardName({ collection, shard }) }] : [],
    ),
    ...faults,
  ];
  const [first] = problems;
  const others = faults.length + faultsOmitted;
  if (first === undefined) return null;
  const counts = [
    ...(failed > 0 ? [`${failed} of ${shards.length} shards`] : []),
    ...(others > 0 ? [`${others} other ${others === 1 ? "part" : "parts"}`] : []),
  ];
  // Damage outranks what another run may mend.
  const kind = problems.some((one) => one.kind === "corrupt") ? "corrupt" : "unavailable";
  return new SiltstoneError(
    kind,
    `${counts.join(" and ")} failed; ${first.part}: ${first.kind}: ${first.message}`,
    { problems: problems.map(({ part, kind, message }) => ({ field: part, reason: `${kind}: ${message}` })) },
  );
}

/** The note of the last run as a whole. */
export const runNote = "run";

/** A note is for people: the caller logs it when this throws, and goes on. */
export async function noteRun(leases: LeaseTable, summary: RunSummary): Promise<void> {
  const { shards, shardsOmitted: _omitted, ...whole } = summary;
  const limit = pLimit(noteConcurrency);
  const note = (name: string, value: object) => limit(() => leases.note(name, { ...value }));
  await Promise.all([
    note(runNote, { ...whole, shards: shards.length }),
    ...shards.filter(isEventful).map(({ collection, shard, ...rest }) =>
      note(shardRunNote({ collection, shard }), {
        source: summary.source,
        startedAt: summary.startedAt,
        ...rest,
      }),
    ),
  ]);
}
