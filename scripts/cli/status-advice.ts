/** What is wrong with a store by its status, each with the command that shows more or mends it. */

import { sweepMs } from "../../lib/core/policy/time-bounds.ts";
import type { ShardStatus } from "../../lib/engine/operate/status.ts";
import type { StrangersFound } from "../../lib/engine/shard/strangers.ts";
import { duration, plural } from "./text.ts";

/** The compactor finds a delta without its message within ten minutes and a run: one that waited for longer was passed over. */
const lateMs = sweepMs + 5 * 60_000;
/** Upkeep runs every five minutes and merges beyond eight flat segments. */
const flatSegmentsMany = 24;

/** Named in one line. */
const strangersNamed = 3;

type Note = Readonly<Record<string, unknown>> | null;

/** Advice for what failed in the last run, beside shards and `said`, which have their own. A note has no promised shape. */
export function adviceForRun(lastRun: Note, said: ReadonlySet<unknown>): string[] {
  const faults = Array.isArray(lastRun?.faults) ? (lastRun.faults as Record<string, unknown>[]) : [];
  const others = faults.filter(({ part }) => !said.has(part));
  return others.map(
    ({ part, kind, message }) => `the last run failed in part: ${part} (${kind}): ${message}`,
  );
}

export function adviceForStrangers({ count, keys }: StrangersFound): string[] {
  if (count === 0) return [];
  const named = keys.slice(0, strangersNamed).join(", ");
  const more = count > strangersNamed ? `, and ${count - strangersNamed} more` : "";
  return [
    `${plural(count, "object")} that Siltstone did not make, neither read nor deleted by it: ${named}${more} ` +
      '(docs/runbook.md, "Strangers")',
  ];
}

export function adviceFor(status: ShardStatus): string[] {
  const { collection, shard, snapshot, backlog, quarantined, held, lastRun, faults } = status;
  const name = `${collection}/${shard}`;
  const advice: string[] = [];
  for (const { part, kind, message } of faults) {
    const isDamage = kind === "corrupt" && (part === "snapshot" || part === "files");
    advice.push(isDamage ? `${name} is damaged: ${message}` : `${name}: ${part} cannot be read: ${message}`);
    if (isDamage && !message.includes("silt "))
      advice.push(`see all of it: silt verify ${collection}; go back: silt snapshot list ${collection}`);
  }
  if (backlog?.oldestMs != null && backlog.oldestMs > lateMs) {
    const holder = held.find(({ kind }) => kind === "ingest");
    const why = holder
      ? `epoch ${holder.epoch} holds its lease: silt lease show ${collection}`
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
    advice.push(`${name}: the last run left ${left.deltas} of its deltas in the backlog: ${left.reason}`);
  if (snapshot !== null && snapshot.flatSegments > flatSegmentsMany) {
    advice.push(
      `${name}: ${snapshot.flatSegments} small segments wait to be merged: silt compact ${collection}`,
    );
  }
  return advice;
}
