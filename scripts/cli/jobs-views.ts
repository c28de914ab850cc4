/** Looking at jobs: silt jobs stats | health | ready | list | inspect | item | recent | report | export. */
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { listCollections } from "../../lib/engine/catalog/collections.ts";
import { readSound } from "../../lib/jobs/change.ts";
import { readSettings } from "../../lib/jobs/control.ts";
import { findItems, findJob, healthOf, type JobFilter } from "../../lib/jobs/find.ts";
import {
  type EndedJob,
  endedJob,
  type Item,
  type Priority,
  type Status,
  statuses,
} from "../../lib/jobs/item.ts";
import { noCounts } from "../../lib/jobs/ports.ts";
import { openCollection } from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { duration, excerpt, moment, pairs, plural, table } from "./text.ts";

export interface FilterOptions {
  readonly status?: Status;
  readonly priority?: Priority;
  readonly since?: number;
  readonly collection?: string;
  readonly source?: string;
  readonly operation?: string;
}

/** Of the options that were given. */
export async function filterOf(session: Session, options: FilterOptions): Promise<JobFilter> {
  const { status, priority, since, collection, source, operation } = options;
  return {
    ...(status === undefined ? {} : { statuses: [status] }),
    ...(priority === undefined ? {} : { priority }),
    ...(since === undefined ? {} : { sinceMs: since }),
    ...(source === undefined ? {} : { source }),
    ...(operation === undefined ? {} : { operationId: operation }),
    ...(collection === undefined
      ? {}
      : { collectionId: (await openCollection(session, collection)).collection.id }),
  };
}

const at = (ms: number): string => new Date(ms).toISOString();
const timeOfJob = ({ completedAtMs, createdAtMs }: EndedJob): number => completedAtMs ?? createdAtMs;
const errorShown = 60;

const columns = ["JOB", "ITEM", "COLLECTION", "STATUS", "PRIORITY", "ATTEMPTS", "AT", "ERROR"];
export const row = (job: EndedJob): string[] => [
  job.job,
  excerpt(job.item, 40),
  job.collection,
  job.status,
  job.priority,
  `${job.attempts} of ${job.attemptsMax}`,
  moment(at(timeOfJob(job))),
  job.error === null ? "" : excerpt(`${job.error.kind}: ${job.error.message}`, errorShown),
];

export async function stats(session: Session): Promise<Outcome> {
  const { jobs, world } = await session.open();
  const { table: items } = jobs();
  const now = Object.fromEntries(
    await Promise.all(statuses.map(async (status) => [status, await items.count(status)] as const)),
  );
  const ever = { ...noCounts } as Record<keyof typeof noCounts, number>;
  const { collections } = await listCollections(world.store);
  for (const { id } of collections)
    for (const [name, count] of Object.entries(await items.readCounts(id)))
      ever[name as keyof typeof ever] += count;
  const { state } = await readSettings(items);
  return {
    value: { state, now, ever },
    text: `work is ${state}\n\n${pairs({ ...now })}\n\nof all saves so far\n${pairs(ever)}`,
  };
}

export async function health(session: Session): Promise<Outcome> {
  const { jobs, world } = await session.open();
  const { table: items } = jobs();
  const found = await healthOf(items, await readSettings(items), world.clock.nowMs());
  const { problems, ...facts } = found;
  return {
    value: { healthy: problems.length === 0, ...found },
    text: [
      pairs({ ...facts, oldestSeconds: duration(facts.oldestSeconds * 1_000) }),
      "",
      ...(problems.length === 0 ? ["healthy"] : problems.map(({ said }) => said)),
    ].join("\n"),
    next: problems.map(({ advice }) => advice),
    exitCode: problems.length === 0 ? exitCodes.ok : exitCodes.failure,
  };
}

/** What keeps a deployment from going on, beside what is unhealthy. */
export async function ready(session: Session): Promise<Outcome> {
  const { jobs, world, configurations } = await session.open();
  const { table: items, deadLetters } = jobs();
  const { problems } = await healthOf(items, await readSettings(items), world.clock.nowMs());
  const dead = await deadLetters.count();
  const inactive = (await configurations("embedder")).filter(
    ({ state }) => state !== "Active" && state !== "Inactive",
  );
  const processing = await items.count("processing");
  const reasons = [
    ...problems.map(({ said }) => said),
    ...(dead > 0 ? [`${plural(dead, "message")} in the dead-letter queue: silt jobs dlq list`] : []),
    ...inactive.map(({ name, state }) => `${name} is ${state}`),
  ];
  return {
    value: { ready: reasons.length === 0, reasons, processing },
    text: reasons.length === 0 ? `ready; ${plural(processing, "job")} running` : reasons.join("\n"),
    exitCode: reasons.length === 0 ? exitCodes.ok : exitCodes.failure,
  };
}

export async function list(
  session: Session,
  { limit, ...options }: FilterOptions & { readonly limit: number },
): Promise<Outcome> {
  const { jobs } = await session.open();
  const filter: JobFilter = { ...(await filterOf(session, options)), first: "latest" };
  const found: Item[] = [];
  for await (const one of findItems(jobs().table, filter)) {
    found.push(one);
    if (found.length >= limit || session.interrupted.aborted) break;
  }
  return listed(found.map(endedJob));
}

function listed(found: readonly EndedJob[]): Outcome {
  const sorted = found.toSorted((a, b) => timeOfJob(b) - timeOfJob(a));
  return {
    value: { jobs: sorted },
    text: sorted.length === 0 ? "no job" : table(columns, sorted.map(row)),
  };
}

export async function recent(session: Session, { limit }: { readonly limit: number }): Promise<Outcome> {
  const { jobs } = await session.open();
  const found: Item[] = [];
  for (const status of ["completed", "failed", "cancelled"] as const)
    for await (const page of jobs().table.list(status, { first: "latest", limit }))
      for (const one of await Promise.all(page.map((key) => readSound(jobs().table, key))))
        if (one?.status === status) found.push(one);
  const ended = found.map(endedJob).toSorted((a, b) => timeOfJob(b) - timeOfJob(a));
  return listed(ended.slice(0, limit));
}

export async function inspect(session: Session, job: string): Promise<Outcome> {
  const { jobs } = await session.open();
  const { table: items } = jobs();
  const current = await findJob(items, job);
  const found = current === null ? await items.readEnded(job) : endedJob(current);
  if (found === null)
    throw new SiltstoneError(
      "notFound",
      `no job ${job}: it never was, or it ended long ago and is forgotten`,
    );
  return shownJob(found, current === null ? { current: false } : { current: true });
}

export async function item(session: Session, collection: string, id: string): Promise<Outcome> {
  const opened = await openCollection(session, collection);
  const found = await opened.deployment.jobs().table.read({ collectionId: opened.collection.id, item: id });
  if (found === null) throw new SiltstoneError("notFound", `collection ${collection} has no item ${id}`);
  const { textBytes, highWater, text, metadata } = found;
  return shownJob(endedJob(found), {
    ...{ textBytes, highWater, metadata },
    textOn: text === null ? null : "inline" in text ? "table" : "S3",
  });
}

const shownJob = (job: EndedJob, more: Record<string, unknown>): Outcome => ({
  value: { ...job, ...more },
  text: pairs(factsOf({ ...job, ...more })),
});

/** Of an item, without its text. */
export const itemFacts = (item: Item, more: Record<string, unknown>): Record<string, string> =>
  factsOf({ ...endedJob(item), ...more });

function factsOf(value: Record<string, unknown>): Record<string, string> {
  const isTime = /AtMs$/;
  const shown = Object.entries(value)
    .filter(([, one]) => one !== null)
    .map(([name, one]) => [
      name.replace(isTime, "At"),
      isTime.test(name)
        ? moment(at(one as number))
        : typeof one === "object"
          ? JSON.stringify(one)
          : String(one),
    ]);
  return Object.fromEntries(shown) as Record<string, string>;
}

const hourMs = 3_600_000;
const failuresLookedAt = 1_000;

export async function report(session: Session): Promise<Outcome> {
  const { jobs, world } = await session.open();
  const { table: items } = jobs();
  const nowMs = world.clock.nowMs();
  const byReason = new Map<string, number>();
  let looked = 0;
  for await (const { error } of findItems(items, { statuses: ["failed"], first: "latest" })) {
    const name = error === null ? "unknown" : `${error.kind}: ${excerpt(error.message, 100)}`;
    byReason.set(name, (byReason.get(name) ?? 0) + 1);
    if (++looked >= failuresLookedAt) break;
  }
  const settings = await readSettings(items);
  const found = await healthOf(items, settings, nowMs);
  let lastHour = 0;
  for await (const page of items.list("completed", { sinceMs: nowMs - hourMs })) lastHour += page.length;
  const audit = await items.audit(20);
  const failures = [...byReason].sort(([, a], [, b]) => b - a).map(([reason, count]) => ({ reason, count }));
  const value = { health: found, completedLastHour: lastHour, failures, audit, settings };
  return {
    value,
    text: [
      pairs({ waiting: found.pending, running: found.processing, "finished in the last hour": lastHour }),
      "",
      failures.length === 0
        ? "nothing has failed"
        : table(
            ["FAILED", "REASON"],
            failures.map(({ reason, count }) => [count, reason]),
          ),
      "",
      audit.length === 0
        ? "nothing was done by hand"
        : table(
            ["BY", "WHAT"],
            audit.map(({ who, what }) => [who, excerpt(what, 80)]),
          ),
    ].join("\n"),
  };
}

export async function exportJobs(session: Session, options: FilterOptions): Promise<Outcome> {
  const { jobs } = await session.open();
  for await (const one of findItems(jobs().table, await filterOf(session, options))) {
    if (session.interrupted.aborted) return { value: null, text: "", exitCode: exitCodes.interrupted };
    session.writeLine(JSON.stringify(endedJob(one)));
  }
  return { value: null, text: "" };
}
