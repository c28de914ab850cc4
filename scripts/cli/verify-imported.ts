/**
 * silt import --verify: the source is read a second time, shaped as the import shapes it, and compared with what the query
 * function answers for its ids, strongly consistent: vectors bit by bit, documents, metadata. Rows that the import rejects are
 * no difference; of an id that comes several times the last row counts where rows replace each other, else the first.
 */
import { checkRecords } from "../../lib/core/model/check-records.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { encodeMetadata } from "../../lib/core/model/metadata.ts";
import type { DeltaRow } from "../../lib/core/model/row.ts";
import type { ReadRecord } from "../../lib/engine/read/read-request.ts";
import { embedRows } from "../../lib/import/embed-rows.ts";
import { IdSet } from "../../lib/import/id-set.ts";
import { metRows, type Selection } from "../../lib/import/import-rows.ts";
import type { Deployment } from "./deployment.ts";
import { countingEmbedder } from "./embedding-estimate.ts";
import type { Session } from "./session.ts";
import { plural } from "./text.ts";

/** Numbers of the vectors that one call is asked for: at 20 bytes each they stay below what a function answers. */
const componentsMax = 100_000;
/** Characters of documents and metadata, likewise. */
const charsMax = 1_000_000;
const rowsMax = 500;
const examplesMax = 5;
/** Rows that differ, after which there is no need to look further. */
const differingMax = 100_000;

export interface Verified {
  /** False where it was interrupted. */
  readonly complete: boolean;
  readonly equal: number;
  readonly differing: number;
  /** Of the source, rows that are passed over included. */
  readonly linesRead: number;
  /** False where so many rows differ that the others were not looked at. */
  readonly isWhole: boolean;
  readonly lines: readonly string[];
}

export async function verifyImported(
  session: Session,
  collection: Collection,
  selection: Selection,
): Promise<Verified> {
  const progress = session.progress("verify");
  const comparison = new Comparison(await session.open(), collection);
  let linesRead = 0;
  try {
    for await (const page of rowsAgain(collection, selection)) {
      if (session.interrupted.aborted || comparison.differing.size >= differingMax) break;
      linesRead = page.lines;
      for (const row of page.rows) await comparison.add(row);
      const { done, all } = page.progress ?? { done: 0, all: 0 };
      progress.update(done, all, `${comparison.equal} rows are equal, ${comparison.differing.size} differ`);
    }
    await comparison.compare();
  } finally {
    progress.stop();
  }
  const { equal, differing } = comparison;
  const complete = !session.interrupted.aborted;
  const atLeast = differing.size >= differingMax ? "at least " : "";
  const said =
    differing.size > 0
      ? `VERIFIED: ${atLeast}${plural(differing.size, "row")} differ or are missing, ${equal} are equal`
      : complete
        ? `verified: ${plural(equal, "row")} of the source are in the collection, with equal vectors, documents and metadata`
        : `the verification was interrupted: ${plural(equal, "row")} were equal so far`;
  const examples = [...differing].slice(0, examplesMax);
  return {
    complete,
    equal,
    differing: differing.size,
    linesRead,
    isWhole: differing.size < differingMax,
    lines: [said, ...examples.map(([id, difference]) => `  ${JSON.stringify(id)}: ${difference}`)],
  };
}

/** The rows that the import would write, page by page. */
async function* rowsAgain(collection: Collection, selection: Selection) {
  const { source, limit } = selection;
  const ids = new IdSet();
  const { embedder } = collection;
  const embed = countingEmbedder({ texts: 0, bytes: 0 });
  let lines = 0;
  for await (const { items, progress } of source.pages(null)) {
    const rows: RowAgain[] = [];
    const taken = limit === null ? items : items.slice(0, limit - lines);
    const met = metRows(collection, selection, taken, lines);
    lines += taken.length;
    const count = { texts: 0, tokens: 0 };
    for (const { found, isEmbedded } of await embedRows(collection, selection.shape, met, { embed, count })) {
      if (found.kind === "faulty") continue;
      // As the import does: a row counts as seen whether it is good or not.
      const { id } = found.record;
      if (typeof id === "string" && !ids.add(id) && !source.repeatsReplace) continue;
      // A provider is not paid twice for a text, and need not answer the same.
      const hasVector = isEmbedded !== true || embedder === "lexical";
      for (const row of checkRecords(collection, { records: [found.record], onInvalid: "skip" }, 0).rows)
        rows.push({ row, hasVector });
    }
    yield { rows, progress, lines };
    if (lines === limit) return;
  }
}

/** `hasVector`: whether the vector is known with which it was written. */
interface RowAgain {
  readonly row: DeltaRow;
  readonly hasVector: boolean;
}

class Comparison {
  equal = 0;
  /** What is different, by id. */
  readonly differing = new Map<string, string>();
  readonly #deployment: Deployment;
  readonly #collection: Collection;
  /** Ids that were compared. */
  readonly #ids = new IdSet();
  #batch = new Map<string, RowAgain>();
  #chars = 0;

  constructor(deployment: Deployment, collection: Collection) {
    this.#deployment = deployment;
    this.#collection = collection;
  }

  async add(again: RowAgain): Promise<void> {
    const { row } = again;
    // What was said of the row that this one replaces is taken back.
    if (!this.#ids.add(row.id) && !this.#batch.has(row.id) && !this.differing.delete(row.id)) this.equal -= 1;
    this.#batch.set(row.id, again);
    this.#chars += (row.document?.length ?? 0) + (row.metadata?.length ?? 0);
    const rows = this.#batch.size;
    const components = rows * this.#collection.dims;
    if (rows >= rowsMax || components >= componentsMax || this.#chars >= charsMax) await this.compare();
  }

  async compare(): Promise<void> {
    if (this.#batch.size === 0) return;
    const found = await recordsOf(this.#deployment, this.#collection, [...this.#batch.keys()]);
    for (const { row, hasVector } of this.#batch.values()) {
      const difference = differenceOf(row, found.get(row.id), hasVector);
      if (difference === null) this.equal += 1;
      else this.differing.set(row.id, difference);
    }
    this.#batch = new Map();
    this.#chars = 0;
  }
}

async function recordsOf(
  deployment: Deployment,
  { name }: Collection,
  ids: readonly string[],
): Promise<Map<string, ReadRecord>> {
  const include = ["document", "metadata", "vector"];
  const call = { op: "get", collection: name, ids, include, consistency: "strong" };
  const { records } = (await deployment.call("query", call)) as { records: readonly ReadRecord[] };
  return new Map(records.map((record) => [record.id, record]));
}

/** Null where the record is what the row says. */
function differenceOf(row: DeltaRow, found: ReadRecord | undefined, hasVector: boolean): string | null {
  if (found === undefined) return "is missing";
  const { document, metadata } = found;
  const vector = found.vector as number[] | undefined;
  const given = row.vector!;
  const component = hasVector
    ? given.findIndex((value, i) => value !== Math.fround(vector?.[i] ?? Number.NaN))
    : -1;
  if (vector?.length !== given.length || component >= 0) return `its vector differs at ${component}`;
  if ((document ?? null) !== row.document) return "its document differs";
  const texts = metadata == null ? null : encodeMetadata(metadata);
  return texts === row.metadata ? null : "its metadata differs";
}
