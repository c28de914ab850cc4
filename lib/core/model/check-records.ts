/**
 * A producer call's records and deletes, checked one by one against their collection. Bad input changes nothing and
 * says what was wrong (I9): problems are listed by position, id, field and reason, as many as an answer shows.
 */

import type { Collection } from "./collection.ts";
import { invalid, type Problem, problemsShownMax, type SiltstoneError } from "./errors.ts";
import { parseExactly } from "./exact-json.ts";
import { encodeMetadata, isPlainObject, metadataBytesMax, metadataProblems, shown } from "./metadata.ts";
import type { DeltaRow, Metadata, Row } from "./row.ts";
import { checkVector, vectorProblem } from "./vector.ts";

export const idBytesMax = 512;
export const documentBytesMax = 256 * 1024;
/** Records and deletes of one call, together. */
export const callRowsMax = 65_536;

/** What a caller sent of records: nothing in it is trusted. */
export interface RecordsCall {
  readonly records?: unknown;
  readonly deletes?: unknown;
  /** `refuse` (default): one bad record refuses the whole call. `skip`: the good ones are written. */
  readonly onInvalid?: unknown;
}

export interface CheckedRecords {
  /** Records, then deletes, in the order of the call. */
  readonly rows: DeltaRow[];
  /**
   * What is wrong with the others; empty unless the call said `skip`. All of it up to `problemsShownMax` problems; from then
   * on the first of each record, so that no record's first problem is missing.
   */
  readonly rejected: Problem[];
}

const recordKeys = ["id", "vector", "document", "metadata", "version"];
const deleteKeys = ["id", "version"];
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controlPattern = /[\u0000-\u001f\u007f]/;
/**
 * What new ids are refused for as well: C1 controls, which terminals obey, and all that turns the direction of text (marks,
 * embeddings, overrides, isolates), which makes an id look like another. Ids that older versions took may have them, so that
 * deletes, and rows of deltas that wait to be ingested, may as well.
 */
const unseenPattern = /[\p{Cc}\p{Bidi_Control}]/u;

/**
 * Rows to write, and what is wrong with the others. An id may come several times: the later row wins, and a delete
 * comes after every record. Throws `invalid` for the shape of the call itself, and, unless the call says `skip`, for
 * any bad record: nothing is looked at behind `problemsShownMax` problems, so that a call of bad records is refused at once.
 */
export function checkRecords(collection: Collection, call: RecordsCall, nowMs: number): CheckedRecords {
  const records = listOf(call, "records");
  const deletes = listOf(call, "deletes");
  const { onInvalid } = call;
  if (onInvalid !== undefined && onInvalid !== "refuse" && onInvalid !== "skip") {
    throw invalid(`onInvalid must be "refuse" or "skip", got ${shown(onInvalid)}`);
  }
  const count = records.length + deletes.length;
  if (count < 1) throw invalid("the call has neither records nor deletes");
  if (count > callRowsMax)
    throw invalid(`the call has ${count} records and deletes; at most ${callRowsMax} are allowed`);

  const rows: DeltaRow[] = [];
  const rejected: Problem[] = [];
  let looked = 0;
  const take = (values: readonly unknown[], list: "records" | "deletes") => {
    for (let index = 0; index < values.length; index++) {
      const isFull = rejected.length >= problemsShownMax;
      if (isFull && onInvalid !== "skip") return;
      looked++;
      const problems: Problem[] = [];
      const row =
        list === "records"
          ? upsertRow(collection, values[index], nowMs, problems)
          : deleteRow(collection, values[index], nowMs, problems);
      if (problems.length === 0) rows.push(row);
      const id = idShown(values[index]);
      for (const { field, reason } of isFull ? problems.slice(0, 1) : problems) {
        const place = list === "records" ? field : field === "delete" ? "deletes" : `deletes.${field}`;
        rejected.push({ ...(id === undefined ? {} : { id }), index, field: place, reason });
      }
    }
  };
  take(records, "records");
  take(deletes, "deletes");
  if (rejected.length > 0 && onInvalid !== "skip")
    throw refusal(rejected, { bad: looked - rows.length, looked, count });
  return { rows, rejected };
}

/** The message shows a few problems; the error carries all that were found. */
function refusal(
  problems: readonly Problem[],
  { bad, looked, count }: { bad: number; looked: number; count: number },
): SiltstoneError {
  const shownMax = 3;
  const few = problems.slice(0, shownMax).map(({ id, index, field, reason }) => {
    return `${field} of ${id === undefined ? `number ${index}` : shown(id)} ${reason}`;
  });
  const more = problems.length > shownMax ? `; and ${problems.length - shownMax} more problems` : "";
  const of = looked < count ? `the first ${looked} of ${count}` : count;
  const rest = looked < count ? `the other ${count - looked} were not looked at, ` : "";
  return invalid(
    `${bad} of ${of} records and deletes are bad, ${rest}nothing was written: ${few.join("; ")}${more}`,
    problems,
  );
}

function listOf(call: RecordsCall, name: "records" | "deletes"): readonly unknown[] {
  if (!isPlainObject(call)) throw invalid(`the call must be an object, got ${shown(call)}`);
  const value = call[name];
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid(`${name} must be a list, got ${shown(value)}`);
  return value;
}

/** The row of a record. It is meaningless when a problem was added. */
function upsertRow(collection: Collection, record: unknown, nowMs: number, problems: Problem[]): DeltaRow {
  const nothing: DeltaRow = { id: "", version: 0, vector: null, document: null, metadata: null };
  if (!isPlainObject(record)) {
    problems.push({ field: "record", reason: `must be an object with id and vector, got ${shown(record)}` });
    return nothing;
  }
  unknownKeys(record, recordKeys, problems);
  const { id, document, metadata } = record;
  const add = (field: string, reason: string | null) => {
    if (reason !== null) problems.push({ field, reason });
  };
  add("id", newIdProblem(id));
  const vector = record.vector === undefined ? "is missing" : checkVector(collection, record.vector);
  if (typeof vector === "string") add("vector", vector);
  add("document", documentProblem(document));
  if (metadata != null) problems.push(...metadataProblems(collection.fields, metadata));
  const version = versionOf(collection, record.version, nowMs);
  if (typeof version === "string") add("version", version);
  if (problems.length > 0 || typeof vector === "string" || typeof version === "string") return nothing;
  const written = metadata != null && Object.keys(metadata).length > 0;
  return {
    id: id as string,
    version,
    vector,
    document: (document as string | null | undefined) ?? null,
    metadata: written ? encodeMetadata(metadata as Metadata) : null,
  };
}

/** The row of a delete: an id, or {id, version} where the source gives versions. */
function deleteRow(collection: Collection, entry: unknown, nowMs: number, problems: Problem[]): DeltaRow {
  const fields = typeof entry === "string" ? { id: entry } : entry;
  const row: DeltaRow = { id: "", version: 0, vector: null, document: null, metadata: null };
  if (!isPlainObject(fields)) {
    problems.push({ field: "delete", reason: `must be an id or {"id", "version"}, got ${shown(entry)}` });
    return row;
  }
  unknownKeys(fields, deleteKeys, problems);
  const idReason = idProblem(fields.id);
  if (idReason !== null) problems.push({ field: "id", reason: idReason });
  const version = versionOf(collection, fields.version, nowMs);
  if (typeof version === "string") {
    problems.push({ field: "version", reason: version });
    return row;
  }
  return { ...row, id: fields.id as string, version };
}

function unknownKeys(value: Record<string, unknown>, known: readonly string[], problems: Problem[]): void {
  const unknown = Object.keys(value).filter((key) => !known.includes(key));
  // Named one by one, but a record of a thousand stray keys is one problem, not a thousand.
  for (const key of unknown.slice(0, 8)) {
    problems.push({
      field: key.slice(0, 80).toWellFormed(),
      reason: `is not known here; allowed are ${known.join(", ")}`,
    });
  }
  if (unknown.length > 8)
    problems.push({ field: "record", reason: `has ${unknown.length} keys that are not known` });
}

/** What is wrong with an id, or null. */
export function idProblem(id: unknown): string | null {
  if (id === undefined) return "is missing";
  if (typeof id !== "string") return `must be a string, got ${shown(id)}`;
  const bytes = Buffer.byteLength(id);
  if (bytes < 1 || bytes > idBytesMax) return `has ${bytes} UTF-8 bytes; 1 to ${idBytesMax} are allowed`;
  if (!id.isWellFormed()) return "is not well-formed Unicode (a lone surrogate)";
  return unseenProblem(controlPattern.exec(id));
}

/** The same for an id that is not there yet. */
export const newIdProblem = (id: unknown): string | null =>
  idProblem(id) ?? unseenProblem(unseenPattern.exec(id as string));

/** The character's code point: shown as it is, the character would do what it is refused for. */
function unseenProblem(found: RegExpExecArray | null): string | null {
  if (found === null) return null;
  const code = `U+${found[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
  const kind = /\p{Cc}/u.test(found[0]) ? "the control character" : "the direction mark";
  return `has ${kind} ${code}, which is invisible`;
}

function documentProblem(document: unknown): string | null {
  if (document === undefined || document === null) return null;
  if (typeof document !== "string") return `must be a string, got ${shown(document)}`;
  const bytes = Buffer.byteLength(document);
  if (bytes > documentBytesMax) return `has ${bytes} UTF-8 bytes; at most ${documentBytesMax} are allowed`;
  return document.isWellFormed() ? null : "is not well-formed Unicode (a lone surrogate)";
}

function versionOf({ ordering }: Collection, version: unknown, nowMs: number): number | string {
  if (ordering === "arrival") {
    if (version === undefined) return Math.floor(nowMs);
    return 'is not allowed: the collection has ordering "arrival", where the time of the call is the version';
  }
  if (version === undefined) return 'is required: the collection has ordering "source"';
  if (typeof version !== "number" || !Number.isSafeInteger(version) || version < 0) {
    return `must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got ${shown(version)}`;
  }
  return version;
}

/** The id by which a problem is reported: what was given, cut, where it is text at all. */
function idShown(value: unknown): string | undefined {
  const id: unknown = isPlainObject(value) ? value.id : value;
  return typeof id === "string" ? id.slice(0, idBytesMax).toWellFormed() : undefined;
}

/**
 * What keeps a delta's row out of its collection, or null: a writer that does not go through checkRecords (pyarrow in
 * another language) is held to the same rules before its rows are ingested.
 */
export function rowProblem(collection: Collection, row: Row): Problem | null {
  const reasons: [field: string, reason: string | null][] = [
    ["id", idProblem(row.id)],
    ["document", documentProblem(row.document)],
    ["vector", row.vector === null ? null : vectorProblem(collection, row.vector)],
  ];
  const found =
    reasons.find(([, reason]) => reason !== null) ?? metadataTextProblem(collection, row.metadata);
  if (found === null) return null;
  return {
    id: row.id.slice(0, idBytesMax).toWellFormed(),
    index: row.row,
    field: found[0],
    reason: found[1]!,
  };
}

/** The text is what is stored, so its length counts, and comes before anything parses it. */
function metadataTextProblem(
  { fields }: Collection,
  text: string | null,
): [field: string, reason: string] | null {
  if (text === null) return null;
  const bytes = Buffer.byteLength(text);
  if (bytes > metadataBytesMax)
    return ["metadata", `has ${bytes} bytes; at most ${metadataBytesMax} are allowed`];
  const [problem] = metadataProblems(fields, parsedJson(text), text);
  return problem === undefined ? null : [problem.field, problem.reason];
}

/** The value, or undefined (which no metadata is) when the text is not JSON. */
function parsedJson(text: string): unknown {
  try {
    return parseExactly(text);
  } catch {
    return undefined;
  }
}
