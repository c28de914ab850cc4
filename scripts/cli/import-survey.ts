/** The rows of a source that a plan looks at, and what there is in them. */
import { checkRecords } from "../../lib/core/model/check-records.ts";
import {
  type Collection,
  type CollectionOptions,
  type FieldType,
  newCollection,
} from "../../lib/core/model/collection.ts";
import { fieldTextBytesMax } from "../../lib/core/model/metadata.ts";
import type { DeltaRow } from "../../lib/core/model/row.ts";
import { embedRows } from "../../lib/import/embed-rows.ts";
import { IdSet } from "../../lib/import/id-set.ts";
import { metRows, repeatOf, type Selection } from "../../lib/import/import-rows.ts";
import type { ShapedRecord } from "../../lib/import/shape-row.ts";
import type { SourceDescription } from "../../lib/import/source.ts";
import { countingEmbedder, type TextCount } from "./embedding-estimate.ts";

export interface Looking {
  readonly description: SourceDescription;
  readonly limit: number;
  readonly name: string;
}

/** The collection of a plan for none: as the source's first vector has it. */
function assumed(name: string, record: ShapedRecord, description: SourceDescription): Collection | null {
  const { vector } = record;
  const dims =
    Array.isArray(vector) || vector instanceof Float32Array ? vector.length : (description.dims ?? 0);
  if (dims < 1) return null;
  const options: CollectionOptions = { name, dims, metric: description.metric ?? "cosine" };
  return newCollection(options, "plan", 0);
}

/** Reads the first `limit` lines. `known`: the collection, where there is one. */
export async function look(
  known: Collection | null,
  selection: Selection,
  looking: Looking,
): Promise<Survey> {
  const seen = new Survey(known);
  const { source } = selection;
  const embed = countingEmbedder(seen.texts);
  // For shaping alone: what it decides does not depend on dims.
  const stand = known ?? newCollection({ name: looking.name, dims: 1, metric: "cosine" }, "plan", 0);
  for await (const page of source.pages(null)) {
    const items = page.items.slice(0, looking.limit - seen.lines);
    if (page.progress !== null && page.progress.done > 0) seen.scale = page.progress.all / page.progress.done;
    const met = metRows(stand, selection, items, seen.lines);
    seen.lines += items.length;
    for (const item of items) if ("row" in item) seen.meetNamespace(item.row.namespace, selection.namespace);
    const count = { texts: 0, tokens: 0 };
    for (const { found } of await embedRows(stand, selection.shape, met, { embed, count })) {
      if (found.kind === "faulty") {
        seen.reject(found.fault.field, found.fault.reason);
        continue;
      }
      seen.collection ??= assumed(looking.name, found.record, looking.description);
      seen.meet(found.record, source.repeatsReplace);
    }
    if (items.length < page.items.length) return seen;
  }
  seen.isAll = true;
  seen.scale = 1;
  return seen;
}

export class Survey {
  collection: Collection | null;
  lines = 0;
  isAll = false;
  /** How many times what was looked at the source has, roughly; null where nothing tells. */
  scale: number | null = null;
  taken = 0;
  rejected = 0;
  repeated = 0;
  documents = 0;
  documentChars = 0;
  /** Of documents and metadata. */
  bytes = 0;
  normMin = Number.POSITIVE_INFINITY;
  normMax = 0;
  /** Documents of rows that have no vector. */
  readonly texts: TextCount = { texts: 0, bytes: 0 };
  readonly namespaces = new Map<string, number>();
  readonly reasons = new Map<string, number>();
  readonly #ids = new IdSet();
  readonly #fields = new Map<string, { types: Set<FieldType>; rows: number; isLong: boolean }>();

  constructor(collection: Collection | null) {
    this.collection = collection;
  }

  /** `only`: of the plan; null: any. */
  meetNamespace(namespace: string | undefined, only: string | null): void {
    if (namespace === undefined || (only !== null && namespace !== only)) return;
    this.namespaces.set(namespace, (this.namespaces.get(namespace) ?? 0) + 1);
  }

  reject(field: string, reason: string): void {
    this.rejected += 1;
    // Reasons that differ by their numbers and values alone are one.
    const kind = `${field} ${reason.replaceAll(/"[^"]*"/g, "…").replaceAll(/\d+(\.\d+)?/g, "N")}`;
    this.reasons.set(kind, (this.reasons.get(kind) ?? 0) + 1);
  }

  meet(record: ShapedRecord, replaces: boolean): void {
    const { collection } = this;
    const row = this.#rowOf(collection, record);
    if (row === null) return;
    if (!this.#ids.add(row.id)) {
      this.repeated += 1;
      if (!replaces) this.reject("id", repeatOf(row.id).reason);
      if (!replaces) return;
    }
    this.taken += 1;
    if (row.document !== null) this.documents += 1;
    this.documentChars += row.document?.length ?? 0;
    this.bytes += Buffer.byteLength(row.document ?? "") + Buffer.byteLength(row.metadata ?? "");
    const norm = Math.hypot(...row.vector!);
    this.normMin = Math.min(this.normMin, norm);
    this.normMax = Math.max(this.normMax, norm);
    for (const [name, value] of Object.entries(record.metadata ?? {})) this.#meetField(name, value);
  }

  /** Null, and the reason kept, when the collection would not take it. */
  #rowOf(collection: Collection | null, record: ShapedRecord): DeltaRow | null {
    if (collection === null) {
      this.reject("vector", "is missing");
      return null;
    }
    const { rows, rejected } = checkRecords(collection, { records: [record], onInvalid: "skip" }, 0);
    for (const { field, reason } of rejected.slice(0, 1)) this.reject(field, reason);
    return rows[0] ?? null;
  }

  #meetField(name: string, value: unknown): void {
    const field = this.#fields.get(name) ?? { types: new Set(), rows: 0, isLong: false };
    this.#fields.set(name, field);
    field.rows += 1;
    field.types.add(Array.isArray(value) ? "string[]" : (typeof value as FieldType));
    field.isLong ||= typeof value === "string" && Buffer.byteLength(value) > fieldTextBytesMax;
  }

  /** Of each metadata field: in how many rows it is, its type where it has one, and whether it could be declared. */
  fields(): [string, { rows: number; type: FieldType | null; canBeDeclared: boolean }][] {
    return [...this.#fields].map(([name, { types, rows, isLong }]) => {
      const [type] = types.size === 1 ? types : [];
      const canBeDeclared = type !== undefined && !isLong && /^[A-Za-z][A-Za-z0-9_]{0,62}$/.test(name);
      return [name, { rows, type: type ?? null, canBeDeclared }];
    });
  }
}
