/**
 * Records without a vector get that of their document, by the collection's embedder: those of a page together. A text that cannot be
 * embedded is a fault of its row alone; an embedder that does not answer ends the import, which goes on there next time.
 */
import type { Collection } from "../core/model/collection.ts";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import { documentEmbedder, type EmbedDocuments } from "../embedding/document-embedder.ts";
import type { RowFault, Shape, ShapedRecord } from "./shape-row.ts";

/** For a page of texts: limits of the stage, and outages that pass, are waited for. */
const pageWaitMs = 15 * 60_000;

/** A record, or what is wrong with it and what there is of it. */
export type FoundRecord =
  | { readonly kind: "record"; readonly record: ShapedRecord }
  | { readonly kind: "faulty"; readonly fault: RowFault; readonly record: unknown };

export interface MetRow {
  /** Where it is in the source, for people. */
  readonly at: string;
  readonly found: FoundRecord;
  /** Whether its vector was made here. */
  readonly isEmbedded?: boolean;
}

/** The built-in embedder alone. */
export const builtInEmbedder: EmbedDocuments = documentEmbedder(async ({ name }, { provider, model }) => {
  throw invalid(`collection ${name} embeds by ${provider}/${model}, which is not asked here`);
});

export interface EmbedCount {
  texts: number;
  /** As the provider counts them; what it says nothing of is not among them. */
  tokens: number;
}

/** `embed`: null where vectors are the source's to bring. Throws what is no fault of a text. */
export async function embedRows(
  collection: Collection,
  { fields }: Pick<Shape, "fields">,
  rows: readonly MetRow[],
  { embed, count }: { embed: EmbedDocuments | null; count: EmbedCount },
): Promise<readonly MetRow[]> {
  const wanting = rows.flatMap(({ found }) => (found.kind === "record" ? textOf(found.record) : []));
  if (embed === null || collection.embedder === null || wanting.length === 0) return rows;
  const { outcomes, tokens } = await embed(collection, wanting, { waitMs: pageWaitMs });
  count.texts += wanting.length;
  count.tokens += tokens ?? 0;
  let next = 0;
  return rows.map(({ at, found }): MetRow => {
    if (found.kind === "faulty" || textOf(found.record).length === 0) return { at, found };
    const outcome = outcomes[next++]!;
    const { record } = found;
    if (!(outcome instanceof SiltstoneError))
      return { at, found: { kind: "record", record: { ...record, vector: outcome } }, isEmbedded: true };
    if (outcome.kind !== "invalid") throw outcome;
    const id = typeof record.id === "string" ? { id: record.id } : {};
    const fault = { ...id, field: fields.document ?? "document", reason: outcome.message };
    return { at, found: { kind: "faulty", fault, record } };
  });
}

/** The text that a record needs a vector of; none or one. */
const textOf = ({ vector, document }: ShapedRecord): string[] =>
  vector === undefined && typeof document === "string" ? [document] : [];
