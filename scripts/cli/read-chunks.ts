/** What is stored under the ids of chunks, as a strong read of the query function sees it. */
import type { Metadata } from "../../lib/core/model/row.ts";
import type { ReadChunks } from "../../lib/jobs/embed-all/judge.ts";
import type { Deployment } from "./deployment.ts";

export const readChunksOf =
  (deployment: Deployment): ReadChunks =>
  async (collection, ids) => {
    const call = { op: "get", collection, ids, include: ["metadata"], consistency: "strong" };
    const { records } = (await deployment.call("query", call)) as {
      records: readonly { readonly id: string; readonly metadata?: Metadata | null }[];
    };
    return new Map(records.map((record) => [record.id, record.metadata ?? null]));
  };
