/** Makes records of what views found, with what an answer includes of them. */
import { AnswerSize, vectorBase64Bytes, vectorJsonBytesMin } from "../../core/model/answer-size.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import { parseExactly } from "../../core/model/exact-json.ts";
import type { Metadata } from "../../core/model/row.ts";
import { vectorToBase64, vectorToList } from "../../core/model/vector.ts";
import type { Include, ReadRecord, VectorFormat } from "./read-request.ts";
import type { ShardReader } from "./shard-reader.ts";
import type { Found, SnapshotView } from "./snapshot-view.ts";

const includeDefault: readonly Include[] = ["document", "metadata"];

/** Whether the answer includes vectors, which cold views have none of. */
export const includesVectors = (include: readonly Include[] = includeDefault): boolean =>
  include.includes("vector");

export const includesDocuments = (include: readonly Include[] = includeDefault): boolean =>
  include.includes("document");

/** Makes sure that the vectors of what was found are on disk. */
export async function fetchGivenVectors(
  readers: ReadonlyMap<SnapshotView, ShardReader>,
  found: readonly Found[],
): Promise<void> {
  for (const segment of new Set(found.map((one) => one.segment!))) {
    const [, reader] = [...readers].find(([{ warm }]) => warm?.segments.includes(segment))!;
    await reader.fetchGivenVectors(segment);
  }
}

/** What an answer includes of its records, and how. */
export interface Included {
  readonly include?: readonly Include[] | undefined;
  readonly vectorFormat?: VectorFormat | undefined;
}

/** Records, as long as they fit into one answer of so many. */
export function recordsOf<F extends Found>(
  { dims }: Collection,
  found: readonly F[],
  { include = includeDefault, vectorFormat = "list" }: Included,
  size = new AnswerSize(found.length),
): { readonly found: F; readonly record: ReadRecord }[] {
  const [document, metadata, vector] = (["document", "metadata", "vector"] as const).map((part) =>
    include.includes(part),
  );
  const isList = vectorFormat === "list";
  const vectorBytes = isList ? vectorJsonBytesMin(dims) : vectorBase64Bytes(dims);
  const rows = found.map((one) => {
    const row = one.row({ document: document! });
    size.add({
      id: row.id.length,
      ...(document ? { document: row.document?.length ?? 0 } : {}),
      ...(metadata ? { metadata: row.metadata?.length ?? 0 } : {}),
      ...(vector ? { vector: vectorBytes } : {}),
    });
    return row;
  });
  const vectors = vector ? givenVectors(found, rows) : null;
  return found.map((one, i) => {
    const row = rows[i]!;
    const record: ReadRecord = {
      id: row.id,
      version: row.version,
      ...(document ? { document: row.document } : {}),
      ...(metadata ? { metadata: storedMetadata(one, row.metadata) } : {}),
      ...(vectors ? { vector: isList ? vectorToList(vectors[i]!) : vectorToBase64(vectors[i]!) } : {}),
    };
    return { found: one, record };
  });
}

/** Each segment's file is opened once, and read in its order. */
function givenVectors(found: readonly Found[], rows: readonly { readonly label: number }[]): Float32Array[] {
  const vectors = new Array<Float32Array>(found.length);
  for (const [segment, places] of Map.groupBy(found.keys(), (i) => found[i]!.segment!)) {
    places.sort((a, b) => rows[a]!.label - rows[b]!.label);
    const read = segment.givenVectors(places.map((i) => rows[i]!.label));
    for (const [n, i] of places.entries()) vectors[i] = read[n]!;
  }
  return vectors;
}

/** What is stored was checked when it came: whatever is wrong with it is damage. */
function storedMetadata(found: Found, metadata: string | null): Metadata | null {
  if (metadata === null) return null;
  const object: unknown = tryParse(metadata);
  if (typeof object !== "object" || object === null || Array.isArray(object))
    throw corrupt(found.source, "a row's metadata is not a JSON object");
  return object as Metadata;
}

function tryParse(json: string): unknown {
  try {
    return parseExactly(json);
  } catch {
    return null;
  }
}
