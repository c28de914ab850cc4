/**
 * Items as a library: an upstream Lambda saves texts, which the store embeds later. `grantSaveItems(fn)` (lib/constructs) gives the
 * function the rights and the environment variables for it.
 *
 *     import { createJobs } from "siltstone/jobs";
 *     const jobs = createJobs();
 *     export const handler = async ({ id, text }) => {
 *       const { operationId } = await jobs.save({ collection: "notes", items: [{ id, text }] });
 *       return { operationId };
 *     };
 */
import { parseEnvironment } from "../aws/environment.ts";
import { type JobNames, jobWorld } from "../aws/job-world.ts";
import { type ProducerNames, producerWorld } from "../aws/producer-world.ts";
import { ownCopy } from "../core/model/own-copy.ts";
import type { Metadata } from "../core/model/row.ts";
import { readCollection } from "../engine/shard/head.ts";
import type { Item, Operation, Priority } from "../jobs/item.ts";
import { type JobWorld, type SaveAnswer, saveItems } from "../jobs/save.ts";

export { type Problem, SiltstoneError } from "../core/model/errors.ts";
export type { SaveAnswer } from "../jobs/save.ts";

/** A text to embed; it replaces the item that has its id. */
export interface SaveItem {
  /** 1 to 512 bytes of UTF-8. */
  readonly id: string;
  /** Up to 4 MiB of UTF-8. Not for a delete. */
  readonly text?: string;
  /** Of every chunk's record. `item`, `chunk`, `chunkStart`, `chunkLimit` and `contentHash` are the chunk's own. */
  readonly metadata?: Metadata | null;
  /** `delete` removes the item and its chunks. @default create or update, as the item is there */
  readonly operation?: Operation;
  /** @default the call's */
  readonly priority?: Priority;
  /** Required with ordering "source", and not allowed with "arrival". */
  readonly version?: number;
  /** Of whom or what it is: `silt jobs list --source` finds its items. */
  readonly source?: string;
}

export interface SaveCall {
  readonly collection: string;
  /** 1 to 1,000. */
  readonly items: readonly SaveItem[];
  /** @default "normal" */
  readonly priority?: Priority;
  /** When given, it must be the collection's. */
  readonly embeddingVersion?: string;
}

/** What has become of an item's newest save. */
export type JobState = Pick<
  Item,
  "job" | "operationId" | "operation" | "status" | "attempts" | "attemptsMax" | "error" | "version" | "chunks"
>;

export interface Jobs {
  /**
   * Saves items, and answers when they are durable: nothing waits for their embedding. The call is copied at once. Throws a SiltstoneError:
   * `invalid` with what is wrong with each item, `notFound` when there is no such collection; after `unavailable` and `uncertain` repeat the
   * call, what was saved is `unchanged` then.
   */
  save(call: SaveCall): Promise<SaveAnswer>;
  /** Null when no such item was ever saved, or it is forgotten. */
  state(asked: { readonly collection: string; readonly item: string }): Promise<JobState | null>;
}

/** Make one per process: it keeps its connections. By default, everything is read from the environment variables. */
export function createJobs(names: ProducerNames & JobNames = parseEnvironment(process.env)): Jobs {
  return jobsOver(jobWorld(names, producerWorld(names)));
}

export const jobsOver = (world: JobWorld): Jobs => ({
  save: (call) => saveItems(world, ownCopy(call) as SaveCall),
  async state({ collection, item }) {
    const { id } = await readCollection(world.store, collection);
    const found = await world.table.read({ collectionId: id, item });
    if (found === null) return null;
    const { job, operationId, operation, status, attempts, attemptsMax, error, version, chunks } = found;
    return { job, operationId, operation, status, attempts, attemptsMax, error, version, chunks };
  },
});
