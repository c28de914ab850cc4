/** Makes records of what views found, with what an answer includes of them. */
import { AnswerSize, vectorJsonBytesMin } from "../../core/model/answer-size.ts";
import type { Collection } from "../../core/model/collection.ts";
import { corrupt } from "../../core/model/errors.ts";
import type { Metadata } from "../../core/model/row.ts";
import type { Include, ReadRecord } from "./read-request.ts";
import type { ShardReader } from "./shard-reader.ts";
import type { Found, SnapshotView } from "./snapshot-view.ts";

const includeDefault: readonly Include[] = ["document", "metadata"];

/** Whether the answer includes vectors, which cold views have none of. */
export const includesVectors = (include: readonly Include[] = includeDefault): boolean =>
  include.includes("vector");

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

/** Records, as long as they fit into one answer of so many. */
export function recordMaker(
  { dims }: Collection,
  records: number,
  include: readonly Include[] = includeDefault,
): (found: Found) => ReadRecord {
  const [document, metadata, vector] = (["document", "metadata", "vector"] as const).map((part) =>
    include.includes(part),
  );
  const size = new AnswerSize(records);
  return (found) => {
    const row = found.row({ document: document! });
    size.add({
      id: row.id.length,
      ...(document ? { document: row.document?.length ?? 0 } : {}),
      ...(metadata ? { metadata: row.metadata?.length ?? 0 } : {}),
      ...(vector ? { vector: vectorJsonBytesMin(dims) } : {}),
    });
    return {
      id: row.id,
      version: row.version,
      ...(document ? { document: row.document } : {}),
      ...(metadata ? { metadata: storedMetadata(found, row.metadata) } : {}),
      ...(vector ? { vector: Array.from(found.segment!.givenVector(row.label)) } : {}),
    };
  };
}

/** What is stored was checked when it came: whatever is wrong with it is damage. */
function storedMetadata({ source }: Found, metadata: string | null): Metadata | null {
  if (metadata === null) return null;
  const object: unknown = tryParse(metadata);
  if (typeof object !== "object" || object === null || Array.isArray(object))
    throw corrupt(source, "a row's metadata is not a JSON object");
  return object as Metadata;
}

function tryParse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}
