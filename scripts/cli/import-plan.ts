/**
 * silt import --plan: what is there, and what would come of it. It reads the source's description and its first rows, and says how
 * many; nothing is written, and the collection need not exist.
 */
import { checkRecords } from "../../lib/core/model/check-records.ts";
import {
  type Collection,
  type CollectionOptions,
  type FieldType,
  fieldsMax,
  newCollection,
} from "../../lib/core/model/collection.ts";
import { isKind } from "../../lib/core/model/errors.ts";
import { fieldTextBytesMax } from "../../lib/core/model/metadata.ts";
import type { DeltaRow } from "../../lib/core/model/row.ts";
import { measured } from "../../lib/core/policy/cost/measured.ts";
import { prices } from "../../lib/core/policy/cost/prices.ts";
import { rowBytes } from "../../lib/core/policy/cost/workload.ts";
import { IdSet } from "../../lib/import/id-set.ts";
import { isIn, recordOf, repeatOf, type Selection } from "../../lib/import/import-rows.ts";
import type { ShapedRecord } from "../../lib/import/shape-row.ts";
import type { SourceDescription } from "../../lib/import/source.ts";
import { openCollection } from "./arguments.ts";
import type { ImportArguments } from "./import-command.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { bytes, duration, pairs, plural } from "./text.ts";

/** Lines that are looked at unless --limit says otherwise. */
const linesDefault = 20_000;
/** What an import writes in a second at the most, at 384 dims on two processors (docs/lab/performance.md). */
const writtenPerSecond = 8_000;
const reasonsShownMax = 10;

export async function planImport(
  session: Session,
  name: string,
  selection: Selection,
  { limit = linesDefault }: ImportArguments,
): Promise<Outcome> {
  const description = await selection.source.describe();
  const known = await collectionOf(session, name);
  const startMs = performance.now();
  const seen = await look(known, selection, { description, limit, name });
  const seconds = Math.max(0.001, (performance.now() - startMs) / 1000);
  const { collection } = seen;
  const rows = description.rows ?? (seen.isAll ? seen.lines : null);
  const dims = collection?.dims ?? description.dims;
  const estimate =
    rows === null || dims === null
      ? null
      : estimateOf(rows, dims, seen.bytes / Math.max(1, seen.taken), seen.lines / seconds);
  const value = {
    collection: name,
    exists: known !== null,
    rows,
    looked: seen.lines,
    dims,
    metric: description.metric,
    norms: seen.taken === 0 ? null : { least: seen.normMin, most: seen.normMax },
    documents: seen.documents,
    documentChars: seen.documentChars,
    namespaces: Object.fromEntries(seen.namespaces),
    repeatedIds: seen.repeated,
    fields: Object.fromEntries(seen.fields()),
    rejected: seen.rejected,
    reasons: Object.fromEntries(seen.reasons),
    notes: description.notes,
    estimate,
  };
  return { value, text: textOf(value, seen), next: nextSteps(name, known, selection, value) };
}

async function collectionOf(session: Session, name: string): Promise<Collection | null> {
  try {
    return (await openCollection(session, name)).collection;
  } catch (error) {
    if (isKind(error, "notFound") || isKind(error, "unavailable")) return null;
    throw error;
  }
}

interface Looking {
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

async function look(known: Collection | null, selection: Selection, looking: Looking): Promise<Seen> {
  const seen = new Seen(known);
  const { source, namespace } = selection;
  // For shaping alone: what it decides does not depend on dims.
  const stand = known ?? newCollection({ name: looking.name, dims: 1, metric: "cosine" }, "plan", 0);
  for await (const page of source.pages(null)) {
    for (const item of page.items) {
      if (seen.lines === looking.limit) return seen;
      seen.lines += 1;
      if ("blank" in item || !isIn(item, namespace)) continue;
      if ("row" in item && item.row.namespace !== undefined) seen.meetNamespace(item.row.namespace);
      const found = await recordOf(stand, selection, item, seen.lines - 1);
      if (found.kind === "faulty") {
        seen.reject(found.fault.field, found.fault.reason);
        continue;
      }
      seen.collection ??= assumed(looking.name, found.record, looking.description);
      seen.meet(found.record, source.repeatsReplace);
    }
  }
  seen.isAll = true;
  return seen;
}

class Seen {
  collection: Collection | null;
  lines = 0;
  isAll = false;
  taken = 0;
  rejected = 0;
  repeated = 0;
  documents = 0;
  documentChars = 0;
  /** Of documents and metadata. */
  bytes = 0;
  normMin = Number.POSITIVE_INFINITY;
  normMax = 0;
  readonly namespaces = new Map<string, number>();
  readonly reasons = new Map<string, number>();
  readonly #ids = new IdSet();
  readonly #fields = new Map<string, { types: Set<FieldType>; rows: number; isLong: boolean }>();

  constructor(collection: Collection | null) {
    this.collection = collection;
  }

  meetNamespace(namespace: string): void {
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

interface Estimate {
  readonly seconds: number;
  /** Once, for requests and for building the index. */
  readonly dollars: number;
  readonly dollarsPerMonth: number;
  readonly bytes: number;
}

function estimateOf(rows: number, dims: number, recordBytes: number, readPerSecond: number): Estimate {
  const scale = dims / 384;
  const stored = rows * rowBytes({ vectors: rows, dims, recordBytes } as Parameters<typeof rowBytes>[0]);
  const puts = (rows / 2_000) * (measured.producePuts + measured.ingestPuts);
  // A bulk of rows is inserted into a graph about twice until it rests.
  const built = ((rows * 2) / measured.insertRowsPerSecond) * scale * 1.769 * prices.lambdaGbSecondX86;
  return {
    seconds: rows / Math.min(readPerSecond, writtenPerSecond / Math.max(1, scale)),
    dollars: (puts / 1e6) * prices.s3PutPerMillion + built,
    dollarsPerMonth: (stored / 1e9) * prices.s3GbMonth,
    bytes: stored,
  };
}

type PlanValue = {
  readonly rows: number | null;
  readonly looked: number;
  readonly dims: number | null;
  readonly metric: string | null;
  readonly norms: { readonly least: number; readonly most: number } | null;
  readonly repeatedIds: number;
  readonly rejected: number;
  readonly notes: readonly string[];
  readonly estimate: Estimate | null;
};

function textOf(plan: PlanValue, seen: Seen): string {
  const { norms, estimate } = plan;
  const facts = pairs({
    rows: plan.rows ?? "not known before all of it is read",
    looked: `${plural(plan.looked, "line")}${seen.isAll ? ", which is all" : " (more with --limit N)"}`,
    dims: plan.dims ?? "not known",
    metric: plan.metric ?? "the source does not say",
    norms: norms === null ? "none" : `${norms.least.toPrecision(4)} to ${norms.most.toPrecision(4)}`,
    documents: `${seen.documents} with ${seen.documentChars} characters, about ${Math.ceil(seen.documentChars / 4)} tokens if they are embedded`,
    ...(seen.namespaces.size > 0
      ? {
          namespaces: [...seen.namespaces]
            .map(([name, rows]) => `${JSON.stringify(name)} (${rows})`)
            .join(" "),
        }
      : {}),
    "repeated ids": plan.repeatedIds,
    fields:
      seen
        .fields()
        .map(([name, { type }]) => `${name}:${type ?? "mixed"}`)
        .join(" ") || "none",
    rejected: plan.rejected,
    ...(estimate === null
      ? {}
      : {
          time: `about ${duration(estimate.seconds * 1000)}`,
          cost: `about $${estimate.dollars.toFixed(2)} once and $${estimate.dollarsPerMonth.toFixed(2)} a month for ${bytes(estimate.bytes)} in S3, in a stack of AWS`,
        }),
  });
  const reasons = [...seen.reasons].sort(([, a], [, b]) => b - a).slice(0, reasonsShownMax);
  return [
    facts,
    ...reasons.map(([reason, rows]) => `  ${rows} × ${reason}`),
    ...plan.notes.map((note) => `note: ${note}`),
  ].join("\n");
}

function nextSteps(
  name: string,
  known: Collection | null,
  { source }: Selection,
  plan: PlanValue & {
    readonly fields: Readonly<Record<string, { type: FieldType | null; canBeDeclared: boolean }>>;
  },
): string[] {
  const differs = known !== null && plan.metric !== null && known.metric !== plan.metric;
  const declared = Object.entries(plan.fields)
    .filter(([, { canBeDeclared }]) => canBeDeclared)
    .slice(0, fieldsMax)
    .map(([field, { type }]) => ` --field ${field}:${type}`);
  return [
    ...(differs
      ? [`the source compares by ${plan.metric}, collection ${name} by ${known.metric}: scores will differ`]
      : []),
    ...(known === null && plan.dims !== null
      ? [
          `create it (declare only what is filtered by): silt collection create ${name} --dims ${plan.dims} ` +
            `--metric ${plan.metric ?? "cosine"}${declared.join("")}`,
        ]
      : []),
    ...(source.repeatsReplace && plan.repeatedIds > 0
      ? ["of an id that is repeated the last row counts"]
      : []),
    "import it: the same command without --plan",
  ];
}
