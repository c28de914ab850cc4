/** Acting on jobs: silt jobs retry | retry-failed | cancel | clear | cleanup | cleanup-stuck | pause | resume | emergency-stop | config. */
import { userInfo } from "node:os";
import { jobOfTextKey, textPrefix } from "../../lib/core/format/keys.ts";
import { invalid, isKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { ulidTimeMs } from "../../lib/core/model/ulid.ts";
import { listCollections } from "../../lib/engine/catalog/collections.ts";
import type { ObjectStore } from "../../lib/engine/ports.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { cancelJob, clearJob, forgetItem, retryJob, takeBackJob } from "../../lib/jobs/administer.ts";
import { audit, changeSettings, readSettings } from "../../lib/jobs/control.ts";
import { findItems, findJob, type JobFilter } from "../../lib/jobs/find.ts";
import { endedJob, type Item, type Status } from "../../lib/jobs/item.ts";
import { type NumberName, numbers, type WorkState } from "../../lib/jobs/settings.ts";
import { sweep } from "../../lib/jobs/sweep.ts";
import type { JobsDeployment } from "./deployment.ts";
import { exitCodes } from "./exit-code.ts";
import { type FilterOptions, filterOf } from "./jobs-views.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { pairs, plural, table } from "./text.ts";

export const who = (): string => `${userInfo().username}, silt`;

async function note(jobs: JobsDeployment, what: string): Promise<void> {
  await audit(jobs, await readSettings(jobs.table), { who: who(), what });
}

async function jobNamed(jobs: JobsDeployment, job: string): Promise<Item> {
  const found = await findJob(jobs.table, job);
  if (found !== null) return found;
  throw new SiltstoneError("notFound", `no item has job ${job} as its newest: see \`silt jobs list\``);
}

export async function retryOne(
  session: Session,
  job: string,
  { force = false }: { readonly force?: boolean },
): Promise<Outcome> {
  const jobs = (await session.open()).jobs();
  const after = await retryJob(jobs, await jobNamed(jobs, job), { force });
  await note(jobs, `retry ${job}${force ? " --force" : ""}`);
  return { value: endedJob(after), text: `job ${job} waits to be run` };
}

export async function cancelOne(session: Session, job: string): Promise<Outcome> {
  const jobs = (await session.open()).jobs();
  const after = await cancelJob(jobs, await jobNamed(jobs, job));
  if (after === null)
    throw new SiltstoneError("conflict", `job ${job} has ended already: \`silt jobs inspect ${job}\``);
  await note(jobs, `cancel ${job}`);
  return { value: endedJob(after), text: `job ${job} is cancelled` };
}

/** What is done to each that fits; null where it did not concern one any more. */
async function onEach(
  session: Session,
  jobs: JobsDeployment,
  filter: JobFilter,
  act: (item: Item) => Promise<Item | null>,
): Promise<number> {
  const found: Item[] = [];
  for await (const one of findItems(jobs.table, filter)) found.push(one);
  const progress = session.progress("jobs");
  let count = 0;
  try {
    for (const [looked, one] of found.entries()) {
      if (session.interrupted.aborted) break;
      if ((await act(one)) !== null) count++;
      progress.update(looked + 1, found.length, plural(count, "job"));
    }
  } finally {
    progress.stop();
  }
  return count;
}

const exitOf = (session: Session) => (session.interrupted.aborted ? exitCodes.interrupted : exitCodes.ok);

export async function retryFailed(
  session: Session,
  {
    reason,
    force = false,
    dryRun = false,
    ...options
  }: FilterOptions & {
    readonly reason?: string;
    readonly force?: boolean;
    readonly dryRun?: boolean;
  },
): Promise<Outcome> {
  const jobs = (await session.open()).jobs();
  const filter: JobFilter = {
    ...(await filterOf(session, options)),
    statuses: ["failed"],
    ...(reason === undefined ? {} : { reason }),
  };
  let exhausted = 0;
  const count = await onEach(session, jobs, filter, async (one) => {
    if (!force && one.attempts >= one.attemptsMax) {
      exhausted++;
      return null;
    }
    if (dryRun) return one;
    // Another may have been faster.
    return retryJob(jobs, one, { force }).catch((error: unknown) => {
      if (isKind(error, "conflict") || isKind(error, "notFound")) return null;
      throw error;
    });
  });
  if (!dryRun && count > 0)
    await note(jobs, `retry-failed${force ? " --force" : ""}: ${plural(count, "job")}`);
  return {
    value: { dryRun, retried: count, exhausted },
    text: `${dryRun ? "would retry" : "retried"} ${plural(count, "job")}; ${exhausted} have had all their attempts`,
    next: exhausted > 0 ? ["those too, once the cause is mended: silt jobs retry-failed --force"] : [],
    exitCode: exitOf(session),
  };
}

export async function clear(
  session: Session,
  {
    status,
    reason,
    all,
    collection,
    confirm,
  }: {
    readonly status?: Status;
    readonly reason?: string;
    readonly all?: boolean;
    readonly collection?: string;
    readonly confirm?: string;
  },
): Promise<Outcome> {
  if (status === undefined && reason === undefined && all !== true)
    throw invalid("say which: --status, --reason, or --all");
  const deployment = await session.open();
  const { stage } = deployment;
  if (confirm !== undefined && confirm !== stage)
    throw invalid(`--confirm: must be ${stage}, the name of the stage, once more`);
  const jobs = deployment.jobs();
  const filter: JobFilter = {
    ...(await filterOf(session, collection === undefined ? {} : { collection })),
    statuses: status === undefined ? ["pending", "processing", "failed"] : [status],
    ...(reason === undefined ? {} : { reason }),
  };
  const count = await onEach(session, jobs, filter, async (one) =>
    confirm === undefined ? one : clearJob(jobs, one),
  );
  if (confirm !== undefined && count > 0) await note(jobs, `clear: ${plural(count, "job")}`);
  return {
    value: { cleared: confirm === undefined ? 0 : count, count },
    text:
      confirm === undefined
        ? `${plural(count, "job")} would be cancelled; nothing was changed`
        : `cancelled ${plural(count, "job")}`,
    next: confirm === undefined && count > 0 ? [`to do it: the same with --confirm ${stage}`] : [],
    exitCode: exitOf(session),
  };
}

/** Whether the item's collection was deleted; the one that has its name now may be another. */
async function isGone(store: ObjectStore, { collection, collectionId }: Item): Promise<boolean> {
  try {
    return (await readCollection(store, collection)).id !== collectionId;
  } catch (error) {
    if (isKind(error, "notFound")) return true;
    if (error instanceof SiltstoneError) return false;
    throw error;
  }
}

/** Texts that young may be of a save that is on its way. */
const orphanAgeMs = 86_400_000;

export async function cleanUp(
  session: Session,
  { dryRun = false }: { readonly dryRun?: boolean },
): Promise<Outcome> {
  const { jobs: open, world } = await session.open();
  const jobs = open();
  const { collections } = await listCollections(world.store);
  const there = new Set(collections.map(({ id }) => id));
  const items = await onEach(session, jobs, {}, async (one) => {
    // It may have been made since, or be unreadable, which is not gone.
    if (there.has(one.collectionId) || !(await isGone(world.store, one))) return null;
    return dryRun || (await forgetItem(jobs, one)) ? one : null;
  });
  let texts = 0;
  for (const { id, name } of collections) {
    const old: string[] = [];
    for await (const page of world.store.list(textPrefix(name)))
      for (const { key } of page) {
        const job = jobOfTextKey(name, key);
        if (job !== null && world.clock.nowMs() - ulidTimeMs(job) > orphanAgeMs) old.push(key);
      }
    if (old.length === 0) continue;
    const named = new Set<string>();
    for await (const one of findItems(jobs.table, { collectionId: id })) named.add(one.job);
    const orphans = old.filter((key) => !named.has(jobOfTextKey(name, key)!));
    if (!dryRun) await world.store.delete(orphans);
    texts += orphans.length;
  }
  if (!dryRun && items + texts > 0) await note(jobs, `cleanup: ${items} items, ${texts} texts`);
  return {
    value: { dryRun, items, texts },
    text: `${dryRun ? "would forget" : "forgot"} ${plural(items, "item")} of deleted collections and ${plural(texts, "text")} that no item names`,
    exitCode: exitOf(session),
  };
}

export async function cleanUpStuck(
  session: Session,
  { older }: { readonly older: number },
): Promise<Outcome> {
  const { jobs: open, world } = await session.open();
  const jobs = open();
  const startedBeforeMs = world.clock.nowMs() - older * 60_000;
  const count = await onEach(session, jobs, { statuses: ["processing"] }, (one) =>
    takeBackJob(jobs, one, startedBeforeMs),
  );
  const { woken } = await sweep(jobs, {});
  if (count > 0) await note(jobs, `cleanup-stuck: ${plural(count, "job")}`);
  return {
    value: { givenBack: count, woken },
    text: `gave back ${plural(count, "job")}, woke ${woken} more`,
    exitCode: exitOf(session),
  };
}

export const setState =
  (state: WorkState) =>
  async (session: Session): Promise<Outcome> => {
    const jobs = (await session.open()).jobs();
    await changeSettings(jobs, { state }, who());
    // Messages that came meanwhile were forgotten.
    const woken = state === "running" ? (await sweep(jobs, { all: true })).woken : 0;
    return {
      value: { state, woken },
      text: `work is ${state}${woken > 0 ? `; woke ${plural(woken, "job")}` : ""}; workers go by it within seconds`,
      next: state === "running" ? [] : ["to go on: silt jobs resume"],
    };
  };

export async function configShow(session: Session): Promise<Outcome> {
  const jobs = (await session.open()).jobs();
  const settings = await readSettings(jobs.table);
  const rows = (Object.keys(numbers) as NumberName[]).map((name) => [
    name,
    settings[name],
    `${numbers[name].min}–${numbers[name].max}`,
    numbers[name].description,
  ]);
  return {
    value: settings,
    text: `work is ${settings.state}\n\n${table(["SETTING", "VALUE", "RANGE", "WHAT IT IS"], rows)}`,
  };
}

export async function configSet(session: Session, given: readonly string[]): Promise<Outcome> {
  const changes = Object.fromEntries(
    given.map((text) => {
      const [, name, value] = /^([A-Za-z]+)=(\S+)$/.exec(text) ?? [];
      if (name === undefined) throw invalid(`${text.slice(0, 80)}: must be NAME=VALUE`);
      return [name, name === "state" ? value : Number(value)];
    }),
  );
  const jobs = (await session.open()).jobs();
  const settings = await changeSettings(jobs, changes, who());
  return {
    value: settings,
    text: pairs(Object.fromEntries(Object.keys(changes).map((name) => [name, settings[name as NumberName]]))),
  };
}
