/**
 * An *import source* is where rows come from that were written for another store: a file, a folder, a server. It says what
 * it is without reading its rows, and gives them page by page in an order that does not change between two readings, so
 * that a reading can go on behind any page.
 *
 * A source judges nothing that the collection judges. It gives what it finds; what it cannot read of a row is a fault of
 * that row alone, and only what makes the rest unreadable is thrown (`invalid`, `unavailable`).
 */
import type { Metric } from "../core/model/collection.ts";
import type { RowFault } from "./shape-row.ts";

/** Rows of a page. */
export const pageRowsMax = 1_000;
/** Of the texts of a page, one row more or less. */
const pageCharsMax = 16 * 1024 * 1024;

/** What is known before any row is read. */
export interface SourceDescription {
  /** Null where only reading all of it tells. */
  readonly rows: number | null;
  readonly dims: number | null;
  /** As the source compares vectors; null where it does not say. */
  readonly metric: Metric | null;
  /** Remarks for people: what is odd, and what is not carried over. */
  readonly notes: readonly string[];
  /** Changes when the content has: a cursor of another content is not used. Null where nothing tells. */
  readonly identity: string | null;
}

/** A row as it was found: what the source itself tells apart from metadata, as far as its FieldNames are null. */
export interface SourceRow {
  readonly id?: unknown;
  /** Numbers, a Float32Array, or base64 of little-endian float32; null where the row has none. */
  readonly vector?: unknown;
  readonly document?: unknown;
  readonly version?: unknown;
  /** The part of the source that ids are unique in, where it has such parts. */
  readonly namespace?: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** A row, a place that holds none, or what is wrong with a row. `at` says where it is, for people: "line 3". */
export type SourceItem =
  | { readonly at: string; readonly row: SourceRow }
  | { readonly at: string; readonly blank: true }
  | { readonly at: string; readonly fault: RowFault; readonly text?: string };

/** JSON; only the source that gave it understands it. */
export type Cursor = Readonly<Record<string, string | number | null>>;

export interface SourcePage {
  readonly items: readonly SourceItem[];
  /** Goes on behind the last item. */
  readonly cursor: Cursor;
  /** How much of the source is read, where it is known. */
  readonly progress: { readonly done: number; readonly all: number } | null;
}

/** Which fields are more than metadata; null where the source's rows have that apart, or not at all. */
export interface FieldNames {
  readonly id: string | null;
  readonly document: string | null;
  readonly vector: string | null;
  /** Holds an object, or its JSON text, whose fields become metadata beside the others. */
  readonly metadata: string | null;
  /** For collections with ordering source; left out for others. */
  readonly version: string | null;
}

/** Of rows that are objects of fields. */
export const usualFields: FieldNames = {
  id: "id",
  document: "text",
  vector: "vector",
  metadata: null,
  version: null,
};
/** Of rows that have all of it apart. */
export const ownFields: FieldNames = {
  id: null,
  document: null,
  vector: null,
  metadata: null,
  version: null,
};

export interface ImportSource {
  readonly fields: FieldNames;
  /** Whether a later row of an id replaces an earlier one, as in a log; otherwise it is rejected. */
  readonly repeatsReplace: boolean;
  /** Whether its rows bring versions apart from their fields. */
  readonly givesVersions: boolean;
  describe(): Promise<SourceDescription>;
  /** From its beginning, or behind a page whose cursor this is. One reading at a time. */
  pages(after: Cursor | null): AsyncIterable<SourcePage>;
  close(): Promise<void>;
}

/** Gathers items into pages that are bounded by rows and by what they hold, from behind `start`; cursors are their number. */
export async function* pagesOf(
  items: AsyncIterable<SourceItem>,
  start: number,
  progress: () => { done: number; all: number } | null,
): AsyncGenerator<SourcePage> {
  let page: SourceItem[] = [];
  let row = start;
  let chars = 0;
  const take = (): SourcePage => {
    row += page.length;
    const taken = { items: page, cursor: { row }, progress: progress() };
    page = [];
    chars = 0;
    return taken;
  };
  for await (const item of items) {
    page.push(item);
    chars += charsOf("row" in item ? item.row : "text" in item ? item.text : null);
    if (page.length >= pageRowsMax || chars >= pageCharsMax) yield take();
  }
  if (page.length > 0) yield take();
}

/** For a row's fields, whatever they are called: in an ordinary object `__proto__` would be lost. */
export const emptyFields = (): Record<string, unknown> => Object.create(null) as Record<string, unknown>;

/** What a value holds in memory, roughly, in characters. Not recursive: a line of a file may be nested as deep as it is long. */
export function charsOf(value: unknown): number {
  let chars = 0;
  const left = [value];
  while (left.length > 0) {
    const part = left.pop();
    if (typeof part === "string") chars += part.length;
    else if (typeof part !== "object" || part === null) chars += 16;
    else if (ArrayBuffer.isView(part)) chars += part.byteLength;
    else if (!Array.isArray(part))
      for (const [key, one] of Object.entries(part)) {
        chars += key.length;
        left.push(one);
      }
    else if (typeof part[0] === "number") chars += part.length * 8;
    else for (const one of part) left.push(one);
  }
  return chars;
}

/** The number in a cursor of `pagesOf`. */
export const rowsBefore = (after: Cursor | null): number => Number(after?.row ?? 0);
