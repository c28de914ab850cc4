/** A question over the views of a collection's shards: what is searched for, in what, and the records of what was found. */

import type { AnswerSize } from "../../core/model/answer-size.ts";
import type { Collection } from "../../core/model/collection.ts";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import type { Filter } from "../../core/model/filter.ts";
import { checkFilterCost } from "../../core/model/filter-cost.ts";
import { shardOf } from "../../core/model/shard-of.ts";
import { normalised, vectorToBase64 } from "../../core/model/vector.ts";
import { fetchGivenVectors, includesDocuments, includesVectors, recordsOf } from "./answer-records.ts";
import { nearestOf } from "./nearest.ts";
import type { QuestionAnswer } from "./operations.ts";
import {
  checkEffort,
  checkFilter,
  checkMinScore,
  checkTopK,
  isScoreAtLeast,
  type QueryResult,
  type Question,
  scoreOf,
  vectorIn,
} from "./read-request.ts";
import { type Recall, searchedTo } from "./recall-target.ts";
import type { ShardReader } from "./shard-reader.ts";
import type { Hit, SnapshotView } from "./snapshot-view.ts";
import { checkIds } from "./view.ts";

/** What a question is asked of. */
export interface Asked {
  readonly collection: Collection;
  readonly views: readonly SnapshotView[];
  readonly readers: ReadonlyMap<SnapshotView, ShardReader>;
  readonly isPart: boolean;
}

/** Null where a view cannot answer before its graphs are there. */
export async function answerOf(
  { collection, views, readers, isPart }: Asked,
  { question, filter, size }: { question: Question; filter: Filter | null; size: AnswerSize },
): Promise<QuestionAnswer | null> {
  const topK = checkTopK(question.topK);
  const effort = checkEffort(collection, question);
  const least = checkMinScore(question.minScore);
  const excludeIds = Map.groupBy(checkIds("excludeIds", question.excludeIds ?? []), (id) =>
    shardOf(id, collection.shards),
  );
  const given = await queryVector(collection, views, question);
  const isCold = views.some(({ warm }) => warm === null);
  if (given === null || (isCold && includesVectors(question.include))) return null;
  const { metric } = collection;
  const query = metric === "cosine" ? normalised(given) : given;
  const asked = isPart && question.id !== undefined ? { queryVector: vectorToBase64(given) } : undefined;
  if (topK === 0) return { results: [], ...asked };
  const document = includesDocuments(question.include);
  const excludeIdsOf = ({ manifest }: SnapshotView) => excludeIds.get(manifest.shard) ?? [];
  const search = (ef: number) => nearestOf(views, query, { topK, filter, document, ef, excludeIdsOf });
  const found = await searched(effort, topK, search);
  if (found === null) return null;
  const hits = found.hits.filter(({ distance }) => isScoreAtLeast(metric, scoreOf(metric, distance), least));
  if (includesVectors(question.include)) await fetchGivenVectors(readers, hits);
  const results = recordsOf(collection, hits, question, size).map(({ found, record }): QueryResult => {
    const { distance } = found;
    const { id, version, ...rest } = record;
    return { id, score: scoreOf(metric, distance), distance, version, ...rest };
  });
  return { results, ...asked, ...(found.recall ? { recall: found.recall } : {}) };
}

async function searched(
  effort: ReturnType<typeof checkEffort>,
  topK: number,
  search: (ef: number) => Promise<Hit[] | null>,
): Promise<{ hits: Hit[]; recall?: Recall } | null> {
  if ("recallTarget" in effort) return searchedTo(effort.recallTarget, topK, search);
  const hits = await search(effort.ef);
  return hits && { hits };
}

/** What is searched for; null where only the graphs can tell. */
async function queryVector(
  collection: Collection,
  views: readonly SnapshotView[],
  question: Question,
): Promise<Float32Array | null> {
  const { vector, id } = question;
  const given = [vector, id].filter((value) => value !== undefined).length;
  if (given !== 1) throw invalid(`give exactly one of vector and id, got ${given}`);
  if (id === undefined) return (await vectorIn(collection, question))!;
  const { warm } = viewOfId(views, collection, id);
  if (warm === null) return null;
  const found = warm.find(id);
  if (found === null)
    throw new SiltstoneError(
      "notFound",
      `id: collection ${collection.name} has no record ${JSON.stringify(id.slice(0, 80))}`,
    );
  return found.segment.searchVector(found.label);
}

/** The filters of a call, once it is known that the views can answer all of them in time. */
export function filtersOver(
  collection: Collection,
  views: readonly SnapshotView[],
  asked: readonly { readonly filter?: unknown }[],
): (Filter | null)[] {
  const filters = asked.map(({ filter }) => checkFilter(collection, filter));
  const parts = filters.filter((filter) => filter !== null);
  const segments = views.flatMap(({ warm }) => warm?.segments ?? []);
  const unknown = segments.filter((segment) => !parts.every((filter) => segment.hasLabelsOf(filter)));
  if (parts.length > 0) checkFilterCost(parts.length === 1 ? parts[0]! : { op: "and", parts }, unknown);
  return filters;
}

export function viewOfId<V extends SnapshotView>(
  views: readonly V[],
  { name, shards }: Collection,
  id: string,
): V {
  const shard = shardOf(id, shards);
  const view = views.find(({ manifest }) => manifest.shard === shard);
  if (view === undefined)
    throw invalid(`part: the id is of shard ${shard} of ${name}, which is not among them`);
  return view;
}
