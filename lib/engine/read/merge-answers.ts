/**
 * Answers of the parts of a collection, merged into the answer of the whole, as one reader of all shards would have
 * given it. Pure: who was asked and who failed is fan-out.ts.
 */
import { mergeTopK } from "../../core/model/top-k.ts";
import type { QuestionAnswer, Stats } from "./operations.ts";
import type { Provenance, ReadRecord } from "./read-request.ts";
import { mergeRecall } from "./recall-target.ts";

const sumOf = <T>(all: readonly T[], count: (one: T) => number): number =>
  all.reduce((sum, one) => sum + count(one), 0);

/** Where a merged answer comes from. Only the time it took is not the parts' but that of the function that asked them. */
export function mergeProvenance(parts: readonly Provenance[]): Omit<Provenance, "milliseconds"> {
  const warning = parts.find((part) => part.warning !== undefined)?.warning;
  const takenBack = parts.flatMap((part) => part.takenBack ?? []);
  return {
    snapshotVersion: sumOf(parts, (part) => part.snapshotVersion),
    shards: parts.flatMap((part) => part.shards).sort((a, b) => a.shard - b.shard),
    consistency: parts[0]!.consistency,
    segments: sumOf(parts, (part) => part.segments),
    deltasOverlaid: sumOf(parts, (part) => part.deltasOverlaid),
    requests: sumOf(parts, (part) => part.requests),
    bytesRead: sumOf(parts, (part) => part.bytesRead),
    ...(parts.some(({ cold }) => cold) ? { cold: true } : {}),
    ...(warning === undefined ? {} : { warning }),
    ...(takenBack.length > 0 ? { takenBack } : {}),
  };
}

export function mergeResults(parts: readonly QuestionAnswer[], topK: number): QuestionAnswer {
  const lists = parts.map(({ results }) => results);
  const recalls = parts.map(({ recall }) => recall).filter((recall) => recall !== undefined);
  return {
    results: mergeTopK(lists, topK),
    ...(recalls.length > 0 ? { recall: mergeRecall(recalls) } : {}),
  };
}

/** In the order of the ids, as they were asked for. */
export function mergeRecords(
  parts: readonly { readonly records: readonly ReadRecord[] }[],
  ids: readonly string[],
): { records: ReadRecord[]; missing: string[] } {
  const byId = new Map(parts.flatMap(({ records }) => records.map((record) => [record.id, record] as const)));
  return {
    records: ids.flatMap((id) => byId.get(id) ?? []),
    missing: ids.filter((id) => !byId.has(id)),
  };
}

export const mergeCounts = (parts: readonly { readonly count: number }[]): { count: number } => ({
  count: sumOf(parts, ({ count }) => count),
});

export function mergeStats(parts: readonly Stats[]): Stats {
  const { dims, metric, embeddingVersion } = parts[0]!;
  return {
    dims,
    metric,
    embeddingVersion,
    pendingDeltas: sumOf(parts, ({ pendingDeltas }) => pendingDeltas),
    lagSeconds: Math.max(...parts.map(({ lagSeconds }) => lagSeconds)),
    vectors: sumOf(parts, ({ vectors }) => vectors),
    bytes: sumOf(parts, ({ bytes }) => bytes),
  };
}
