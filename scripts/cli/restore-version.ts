/**
 * silt restore NAME --to: the content of a version, or of a time, becomes the newest version of each shard: from what is kept,
 * or else from the bucket's noncurrent objects. It takes back what was ingested since, so it asks first.
 */
import { InvalidArgumentError } from "commander";
import { snapshotBytes } from "../../lib/core/format/manifest.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { type SnapshotVersion, snapshotVersion } from "../../lib/core/model/ids.ts";
import { findVersion, type WantedVersion } from "../../lib/engine/operate/former-versions.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import { readHead } from "../../lib/engine/shard/head.ts";
import { commitTimeMs } from "../../lib/engine/shard/history.ts";
import { instant, type Opened, oneShard, openCollection, shardsOf } from "./arguments.ts";
import { eachShard, exitCodeOfFailures, failureLine, type ShardFailure } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { bytes, moment, plural, table } from "./text.ts";

export interface RestoreToOptions {
  readonly to: WantedVersion;
  readonly shard?: number;
  readonly confirm?: string;
  readonly dryRun?: boolean;
}

export function wantedVersion(text: string): WantedVersion {
  if (/^\d{1,12}$/.test(text)) return { version: snapshotVersion(Number(text)) };
  try {
    return { atMs: instant(text) };
  } catch {
    throw new InvalidArgumentError(
      "It must be a version's number, or a time in UTC, as 2026-11-21T03:08:45Z.",
    );
  }
}

/** What a shard would go back to. */
interface Found {
  readonly shard: number;
  readonly current: number;
  readonly version: SnapshotVersion;
  readonly publishedAt: string;
  readonly rows: number;
  readonly bytes: number;
  readonly from: "kept" | "noncurrent";
  /** Rows that were ingested since. */
  readonly takesBack: number;
}

export async function restoreTo(session: Session, name: string, options: RestoreToOptions): Promise<Outcome> {
  const { to, confirm, dryRun } = options;
  const opened = await openCollection(session, name);
  // Versions are each shard's own; a time is of all of them.
  const shards =
    "version" in to
      ? [oneShard(opened.collection, options.shard)]
      : shardsOf(opened.collection, options.shard);
  const { done: found, failed } = await eachShard(shards, (shard) => find(opened, shard, to));
  if (confirm === undefined || dryRun === true || failed.length > 0)
    return offer(name, options, found, failed);
  const restored = await eachShard(
    found.map(({ shard }) => shard),
    async (shard) => {
      const { version } = found.find((one) => one.shard === shard)!;
      const { world, deployment, collection } = opened;
      const made = await rollback(world, collection, shard, version, deployment.deleted);
      const moved = made.outcome === "done";
      // The version before the one that was made has all that was ingested until then.
      return {
        shard,
        from: moved ? made.version - 1 : made.version,
        to: version,
        version: made.version,
        moved,
      };
    },
    () => session.interrupted.aborted,
  );
  const isComplete = restored.done.length + restored.failed.length === found.length;
  const many = opened.collection.shards > 1;
  return {
    value: { collection: name, found, restored: restored.done, failed: restored.failed },
    text: [
      ...restored.done.map(({ shard, to: was, version, moved }) =>
        moved
          ? `${name}/${shard}: version ${version} has the content of version ${was}; writes ingested since then are taken back`
          : `${name}/${shard}: version ${was} is current already`,
      ),
      ...restored.failed.map((one) => failureLine({ collection: name, shard: one.shard }, one)),
      ...(isComplete ? [] : ["interrupted: the other shards are as they were"]),
    ].join("\n"),
    next: [
      `prove it: silt verify ${name}`,
      ...restored.done
        .filter(({ moved }) => moved)
        .map(
          ({ shard, from }) =>
            `undo it: silt snapshot rollback ${name} ${from}${many ? ` --shard ${shard}` : ""}`,
        ),
    ],
    exitCode:
      restored.failed.length === 0 && !isComplete
        ? exitCodes.interrupted
        : exitCodeOfFailures(restored.failed),
  };
}

async function find(
  { world, deployment, collection }: Opened,
  shard: number,
  to: WantedVersion,
): Promise<Found> {
  const head = await readHead(world.store, collection, shard);
  const { manifest, isKept } = await findVersion(world, deployment.deleted, head, to);
  return {
    shard,
    current: head.manifest.version,
    version: manifest.version,
    publishedAt: new Date(commitTimeMs(manifest)).toISOString(),
    rows: manifest.segments.reduce((sum, segment) => sum + segment.rows, 0),
    bytes: snapshotBytes(manifest),
    from: isKept ? "kept" : "noncurrent",
    takesBack: Math.max(0, head.manifest.ledger.ingested.rows - manifest.ledger.ingested.rows),
  };
}

function offer(
  name: string,
  { to, shard }: RestoreToOptions,
  found: readonly Found[],
  failed: readonly ShardFailure[],
): Outcome {
  const rows = found.map((one) => [
    `${name}/${one.shard}`,
    one.current,
    one.version,
    moment(one.publishedAt),
    one.rows,
    bytes(one.bytes),
    one.from,
    plural(one.takesBack, "row"),
  ]);
  const back = "version" in to ? to.version : new Date(to.atMs).toISOString();
  const only = shard === undefined ? "" : ` --shard ${shard}`;
  return {
    value: { collection: name, found, restored: [], failed },
    text: [
      table(["SHARD", "NOW", "TO", "PUBLISHED", "ROWS", "SIZE", "FROM", "TAKES BACK"], rows),
      ...failed.map((one) => failureLine({ collection: name, shard: one.shard }, one)),
      "",
      "nothing was changed",
    ].join("\n"),
    next:
      failed.length > 0
        ? []
        : [
            `to do it, taking back what was ingested since: silt restore ${name} --to ${back}${only} --confirm ${name}`,
          ],
    exitCode: exitCodeOfFailures(failed),
  };
}

export function checkRestoreTo(
  name: string,
  deltas: readonly string[],
  { since, until, confirm }: { since?: number; until?: number; confirm?: string },
): void {
  if (deltas.length > 0 || since !== undefined || until !== undefined)
    throw invalid("--to goes back to a version, and takes neither deltas nor --since and --until");
  if (confirm !== undefined && confirm !== name)
    throw invalid(`--confirm: must be ${name}, the name of the collection, once more`);
}
