/**
 * silt restore: what is no longer there comes back. Deltas that were deleted, in their old order, under new names; or with --to
 * the content of a version (restore-version.ts).
 */
import type { Command } from "commander";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { type DeltaId, deltaId } from "../../lib/core/model/ids.ts";
import { isUlid, ulidTimeMs } from "../../lib/core/model/ulid.ts";
import type { WantedVersion } from "../../lib/engine/operate/former-versions.ts";
import { type DeletedDelta, listDeleted, restoreDelta } from "../../lib/engine/operate/restore.ts";
import { instant, type Opened, openCollection, shardOption, shardsOf } from "./arguments.ts";
import { exitCodeOfFailures } from "./each-shard.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import { checkRestoreTo, restoreTo, wantedVersion } from "./restore-version.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { bytes, moment, plural, table } from "./text.ts";

interface RestoreOptions {
  readonly shard?: number;
  readonly since?: number;
  readonly until?: number;
  readonly to?: WantedVersion;
  readonly confirm?: string;
  readonly dryRun?: boolean;
}
type Found = DeletedDelta & { readonly shard: number };

const shownMax = 50;

export function addRestoreCommand(program: Command, run: Runner): void {
  program
    .command("restore")
    .description(
      "bring back a version's or a time's content (--to), or deltas that were deleted (ingested ones are); without --confirm it only lists what it would do",
    )
    .argument("<name>")
    .argument("[deltas...]", "their names; or all of a time:")
    .option("--since <time>", "written at or after this, as 2026-11-21T03:08:45Z", instant)
    .option("--until <time>", "written before this", instant)
    .option(
      "--to <time|version>",
      "make the content of a time or version the newest version instead; takes back what was ingested since",
      wantedVersion,
    )
    .addOption(shardOption())
    .option("--confirm <name>", "the collection's name once more; without it nothing is done")
    .option("--dry-run", "only list it, even with --confirm")
    .action(run(restore));
}

async function restore(
  session: Session,
  name: string,
  given: readonly string[],
  options: RestoreOptions,
): Promise<Outcome> {
  const { to } = options;
  if (to !== undefined) {
    checkRestoreTo(name, given, options);
    return restoreTo(session, name, { ...options, to });
  }
  const deltas = checkChoice(name, given, options);
  const opened = await openCollection(session, name);
  const { deployment, world, collection } = opened;
  // What this restores is named after it: when the command is repeated, it is not restored itself.
  const until = options.until ?? world.clock.nowMs();
  const found: Found[] = [];
  for (const shard of shardsOf(collection, options.shard))
    for (const one of await choose(opened, shard, deltas, { since: options.since, until }))
      found.push({ shard, ...one });
  const missing = deltas.filter((delta) => !found.some((one) => one.delta === delta));
  if (missing.length > 0)
    throw new SiltstoneError(
      "notFound",
      `${name} has no deleted delta ${missing.slice(0, 3).join(", ")}: it never was in the bucket, is in the backlog or in quarantine now, or was deleted longer ago than the bucket keeps it (14 days, unless it was deployed otherwise); nothing was restored`,
    );
  if (options.confirm === undefined || options.dryRun === true || found.length === 0)
    return offer(name, deltas, { ...options, until }, found);

  const restored: { shard: number; delta: DeltaId; again: string }[] = [];
  const failed: { shard: number; delta: DeltaId; kind: SiltstoneError["kind"]; message: string }[] = [];
  for (const { shard, ...one } of found) {
    if (session.interrupted.aborted) break;
    const { delta } = one;
    try {
      const ref = { collection: name, shard };
      restored.push({ shard, delta, again: await restoreDelta(world, deployment.deleted, ref, one) });
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      failed.push({ shard, delta, kind: error.kind, message: error.message });
    }
  }
  const left = found.length - restored.length - failed.length;
  return {
    value: { collection: name, found: found.map(described), restored, failed },
    text: [
      `restored ${plural(restored.length, "delta")} of ${name} under new names; writes and deletes that came after them stand`,
      ...failed.map((one) => `${name}/${one.shard} ${one.delta} failed (${one.kind}): ${one.message}`),
      ...(left > 0 ? [`interrupted: ${plural(left, "delta")} were not restored`] : []),
    ].join("\n"),
    next: [
      ...(restored.length > 0
        ? [
            `ingest them: silt compact ${name}`,
            `what does not fit the collection any more is put aside: silt quarantine list ${name}`,
          ]
        : []),
      ...(left > 0 || failed.length > 0
        ? ["repeating the command is safe: the same writes change nothing"]
        : []),
    ],
    exitCode: failed.length === 0 && left > 0 ? exitCodes.interrupted : exitCodeOfFailures(failed),
  };
}

function checkChoice(name: string, deltas: readonly string[], options: RestoreOptions): DeltaId[] {
  const { since, until, confirm } = options;
  const bad = deltas.find((delta) => !isUlid(delta));
  if (bad !== undefined)
    throw invalid(`${JSON.stringify(bad)} is not a delta's name (a ULID of 26 characters)`);
  if (deltas.length > 0 === (since !== undefined))
    throw invalid(
      "say which: the names of deltas, --since a time (and --until another), or --to a time or version",
    );
  if (until !== undefined && (since === undefined || until <= since))
    throw invalid("--until goes with --since, and is later");
  if (confirm !== undefined && confirm !== name)
    throw invalid(`--confirm: must be ${name}, the name of the collection, once more`);
  return deltas.map(deltaId);
}

/** The objects of one shard that are to come back: those that are named, or those of the time. */
async function choose(
  { deployment, world: { store }, collection: { name } }: Opened,
  shard: number,
  deltas: readonly DeltaId[],
  { since, until }: { since: number | undefined; until: number },
): Promise<DeletedDelta[]> {
  const ref = { collection: name, shard };
  const list = (sinceMs: number, untilMs: number) =>
    listDeleted(store, deployment.deleted, ref, { sinceMs, untilMs });
  if (since !== undefined) return list(since, until);
  const found: DeletedDelta[] = [];
  for (const delta of deltas) {
    const atMs = ulidTimeMs(delta);
    found.push(...(await list(atMs, atMs + 1)).filter((one) => one.delta === delta));
  }
  return found;
}

const described = ({ shard, delta, object }: Found) => ({
  shard,
  delta,
  writtenAt: new Date(ulidTimeMs(delta)).toISOString(),
  bytes: object.bytes,
});

function offer(
  name: string,
  deltas: readonly DeltaId[],
  { since, until, shard }: RestoreOptions,
  found: readonly Found[],
): Outcome {
  const value = { collection: name, found: found.map(described), restored: [], failed: [] };
  if (found.length === 0)
    return {
      value,
      text: `${name} has no deleted deltas of that time; the bucket keeps them for a while only`,
    };
  const rows = value.found
    .slice(0, shownMax)
    .map((one) => [`${name}/${one.shard}`, one.delta, moment(one.writtenAt), bytes(one.bytes)]);
  const time = (option: string, ms: number | undefined) =>
    ms === undefined ? [] : [option, new Date(ms).toISOString()];
  const again = [
    ...deltas,
    ...(since === undefined ? [] : [...time("--since", since), ...time("--until", until)]),
    ...(shard === undefined ? [] : ["--shard", shard]),
  ];
  return {
    value,
    text: [
      table(["SHARD", "DELTA", "WRITTEN", "SIZE"], rows),
      ...(found.length > shownMax ? [`… and ${found.length - shownMax} more (--json has all)`] : []),
      "",
      `${plural(found.length, "delta")} can be restored; nothing was changed`,
    ].join("\n"),
    next: [`to do it: silt restore ${name} ${again.join(" ")} --confirm ${name}`],
  };
}
