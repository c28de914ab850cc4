/**
 * What chroma.sqlite3 says of its collections: their segments, metric, and how far a segment is. Columns differ by version: they are
 * looked at before they are asked for.
 */
import type { DatabaseSync } from "node:sqlite";
import { type Metric, metrics } from "../../core/model/collection.ts";
import { invalid } from "../../core/model/errors.ts";

export interface ChromaCollection {
  readonly id: string;
  readonly name: string;
  readonly dims: number | null;
  readonly metric: Metric;
  readonly vectorSegment: string;
  readonly metadataSegment: string;
}

export function columnsOf(db: DatabaseSync, table: string): Set<string> {
  const rows = db.prepare("SELECT name FROM pragma_table_info(?)").all(table) as { name: string }[];
  return new Set(rows.map(({ name }) => name));
}

/** `name`: of the collection, or its id; null where there is only one. */
export function collectionOf(db: DatabaseSync, folder: string, name: string | null): ChromaCollection {
  const columns = columnsOf(db, "collections");
  const settings = ["config_json_str", "schema_str"].filter((column) => columns.has(column));
  const all = db
    .prepare(
      `SELECT id, name, dimension${settings.map((one) => `, ${one}`).join("")} FROM collections ORDER BY name`,
    )
    .all() as { id: string; name: string; dimension: number | null }[];
  const named = name === null ? all : all.filter((one) => one.name === name || one.id === name);
  if (named.length !== 1) {
    const names = all.map((one) => JSON.stringify(one.name)).join(", ") || "none";
    const said =
      named.length === 0 ? `has no collection ${JSON.stringify(name)}` : "has several such collections";
    throw invalid(`${folder} ${said}; choose one by chroma:DIR#NAME, or by its id: ${names}`);
  }
  const [found] = named as [(typeof named)[number]];
  const segments = db.prepare("SELECT id, type, scope FROM segments WHERE collection = ?").all(found.id) as {
    id: string;
    type: string;
    scope: string;
  }[];
  const segment = (scope: string) => segments.find((one) => one.scope === scope)?.id;
  const [vectorSegment, metadataSegment] = [segment("VECTOR"), segment("METADATA")];
  if (vectorSegment === undefined || metadataSegment === undefined)
    throw invalid(
      `${folder}: collection ${JSON.stringify(found.name)} has no segments of vectors and metadata`,
    );
  return {
    id: found.id,
    name: found.name,
    dims: found.dimension,
    metric: metricOf(
      db,
      found.id,
      settings.map((one) => (found as Record<string, unknown>)[one]),
    ),
    vectorSegment,
    metadataSegment,
  };
}

function metricOf(db: DatabaseSync, collection: string, settings: readonly unknown[]): Metric {
  const old = db
    .prepare("SELECT str_value FROM collection_metadata WHERE collection_id = ? AND key = 'hnsw:space'")
    .get(collection) as { str_value: string } | undefined;
  const found = [old?.str_value, ...settings.map(spaceIn)].find((space) => metrics.includes(space as Metric));
  return (found as Metric | undefined) ?? "l2";
}

/** The space in a configuration, wherever a version of Chroma puts it: that of the embeddings before those of defaults. */
export function spaceIn(settings: unknown): string | null {
  let value = settings;
  if (typeof settings === "string") {
    try {
      value = JSON.parse(settings);
    } catch {
      return null;
    }
  }
  if (typeof value !== "object" || value === null) return null;
  const { space, "#embedding": own, keys, ...rest } = value as Record<string, unknown>;
  if (typeof space === "string") return space;
  for (const part of [own, keys, ...Object.values(rest)]) {
    const found = typeof part === "object" ? spaceIn(part) : null;
    if (found !== null) return found;
  }
  return null;
}

/** Up to which write of the queue a segment is; null where the table does not say. */
export function lastWriteOf(db: DatabaseSync, segment: string): number | null {
  if (columnsOf(db, "max_seq_id").size === 0) return null;
  const found = db.prepare("SELECT seq_id FROM max_seq_id WHERE segment_id = ?").get(segment) as
    | { seq_id: number | Uint8Array }
    | undefined;
  if (found === undefined) return null;
  // Older versions write it as eight bytes, big endian.
  return typeof found.seq_id === "number"
    ? found.seq_id
    : Number(Buffer.from(found.seq_id).readBigUInt64BE());
}
