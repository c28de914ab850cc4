/** Finding items by what people know of them, and what is said of all of them together. */
import { isUlid } from "../core/model/ulid.ts";
import { readSound } from "./change.ts";
import type { Item, Priority, Status } from "./item.ts";
import { statuses } from "./item.ts";
import type { JobTable, ListRange } from "./ports.ts";
import type { JobSettings } from "./settings.ts";

export interface JobFilter extends Pick<ListRange, "sinceMs" | "first"> {
  readonly statuses?: readonly Status[];
  readonly priority?: Priority;
  readonly collectionId?: string;
  readonly source?: string;
  readonly operationId?: string;
  /** In the message of its error. */
  readonly reason?: string;
}

const readsAtOnce = 32;

/** Items that fit, those of one status after those of another, as their records stand now. */
export async function* findItems(table: JobTable, filter: JobFilter = {}): AsyncIterable<Item> {
  const { sinceMs, first } = filter;
  const range = { ...(sinceMs === undefined ? {} : { sinceMs }), ...(first === undefined ? {} : { first }) };
  for (const status of filter.statuses ?? statuses)
    for await (const page of table.list(status, range)) {
      const keys = page.filter(
        ({ collectionId }) => filter.collectionId === undefined || collectionId === filter.collectionId,
      );
      for (let at = 0; at < keys.length; at += readsAtOnce) {
        const items = await Promise.all(keys.slice(at, at + readsAtOnce).map((key) => readSound(table, key)));
        for (const item of items)
          if (item !== null && item.status === status && fits(item, filter)) yield item;
      }
    }
}

const fits = (item: Item, { priority, source, operationId, reason }: JobFilter): boolean =>
  (priority === undefined || item.priority === priority) &&
  (source === undefined || item.source === source) &&
  (operationId === undefined || item.operationId === operationId) &&
  (reason === undefined || (item.error?.message.includes(reason) ?? false) || item.error?.kind === reason);

/** The item whose newest job it is; null where none has it: another save came since, or it never was. */
export async function findJob(table: JobTable, job: string): Promise<Item | null> {
  if (!isUlid(job)) return null;
  const ended = await table.readEnded(job);
  if (ended !== null) {
    const item = await table.read(ended);
    return item?.job === job ? item : null;
  }
  for await (const item of findItems(table)) if (item.job === job) return item;
  return null;
}

export interface Health {
  readonly state: JobSettings["state"];
  readonly pending: number;
  readonly processing: number;
  readonly failedLastDay: number;
  readonly completedLastDay: number;
  readonly oldestSeconds: number;
  /** Each with what to do. */
  readonly problems: readonly { readonly name: string; readonly said: string; readonly advice: string }[];
}

const dayMs = 86_400_000;
/** With something due and nothing finished for that long, work has stalled. */
const stallMs = 15 * 60_000;
/** As many as are looked at for their age, and counted of a day. */
const lookedMax = 10_000;

export async function healthOf(table: JobTable, settings: JobSettings, nowMs: number): Promise<Health> {
  const [pending, processing] = [await table.count("pending"), await table.count("processing")];
  const since = async (status: Status, sinceMs: number) => {
    let count = 0;
    for await (const page of table.list(status, { sinceMs, limit: lookedMax })) count += page.length;
    return count;
  };
  const failedLastDay = await since("failed", nowMs - dayMs);
  const completedLastDay = await since("completed", nowMs - dayMs);
  let oldestMs = nowMs;
  for await (const page of table.list("pending", { limit: 1_000 }))
    for (const item of await Promise.all(page.map((key) => readSound(table, key))))
      if (item?.status === "pending") oldestMs = Math.min(oldestMs, item.createdAtMs);
  const oldestSeconds = Math.round((nowMs - oldestMs) / 1_000);
  const isStalled =
    settings.state === "running" &&
    pending > 0 &&
    nowMs - oldestMs > stallMs &&
    (await since("completed", nowMs - stallMs)) === 0;
  const { pendingMax, processingMax, failedMax, oldestHours } = settings;
  const rows: [name: string, isSo: boolean, said: string, advice: string][] = [
    ["state", settings.state !== "running", `work is ${settings.state}`, "silt jobs resume"],
    [
      "pending",
      pending > pendingMax,
      `${pending} jobs wait, above pendingMax (${pendingMax})`,
      "more runs at a time: silt jobs config set concurrency=N; or wait: silt jobs monitor",
    ],
    [
      "processing",
      processing > processingMax,
      `${processing} jobs run, above processingMax (${processingMax})`,
      "those whose runs died come back by themselves after their lease: silt jobs cleanup-stuck",
    ],
    [
      "failed",
      failedLastDay > failedMax,
      `${failedLastDay} jobs failed within a day, above failedMax (${failedMax})`,
      "see why: silt jobs report; then silt jobs retry-failed --force",
    ],
    [
      "oldest",
      oldestSeconds > oldestHours * 3_600,
      `the oldest has waited ${Math.round(oldestSeconds / 3_600)} h, above oldestHours (${oldestHours})`,
      "its error says why: silt jobs list --status pending",
    ],
    [
      "stalled",
      isStalled,
      "something waits, and nothing was finished for 15 minutes",
      "look at the embedder: silt logs embedder; wake it: silt jobs resume",
    ],
  ];
  const problems = rows.filter(([, isSo]) => isSo).map(([name, , said, advice]) => ({ name, said, advice }));
  return {
    ...{
      state: settings.state,
      pending,
      processing,
      failedLastDay,
      completedLastDay,
      oldestSeconds,
      problems,
    },
  };
}
