/**
 * Which published versions are kept for their number and their age.
 *
 * The age of a version counts from the moment when it was superseded: from the write of the pointer that made its
 * successor current. No object tells that moment, and the successor's commit does not either: a publisher may sleep
 * between making it and writing the pointer. But the publisher of the version after the successor had read that pointer
 * when it made its own commit. So version n was superseded before the commit of version n + 2 was made, and as long as
 * there is no n + 2, perhaps only now.
 */
import type { Manifest } from "../core/manifest.ts";
import { commitTimeMs } from "./history.ts";

export interface Retention {
  /** Published versions that are always kept, beside the current one. */
  readonly versionsKept: number;
  /** Everything superseded more recently is kept. Longer than any reader or query needs to move on to a newer version. */
  readonly keptMs: number;
  /** Unpublished segments and manifests older than this are orphans. Longer than any run. */
  readonly orphanMs: number;
}
/**
 * The same for every collector of a shard: the repair of a lost pointer infers from it what a collector may be about to
 * delete (docs/protocol.md, "Repair"). Whoever makes one of these smaller has to think of that.
 */
export const defaultRetention: Retention = {
  versionsKept: 5,
  keptMs: 60 * 60_000,
  orphanMs: 24 * 60 * 60_000,
};

/** Clocks of two processes differ by less: S3 refuses a request whose clock is more than 15 minutes off. */
export const skewMaxMs = 30 * 60_000;

/**
 * The oldest version that is kept; 0 when all are. `chain` is the published one, newest first. Not lower at a later
 * time, nor for a chain with more versions in front.
 */
export function oldestKept(chain: readonly Manifest[], retention: Retention, nowMs: number): number {
  const supersededMs = (i: number): number => (i < 2 ? nowMs : commitTimeMs(chain[i - 2]!));
  const young = chain.findLastIndex((_, i) => i === 0 || nowMs - supersededMs(i) < retention.keptMs);
  return Math.max(0, Math.min(chain[0]!.version - retention.versionsKept, chain[young]!.version));
}
