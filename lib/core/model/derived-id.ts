/**
 * Ids derived from where a text comes from: the same source gives the same id in every producer, import and backfill, so
 * that writing it again replaces instead of adding. UUIDv5 (RFC 9562) in a namespace of Siltstone's own.
 *
 * The name is the JSON text of ["siltstone-id-1", tenant, source, "id" | "hash", value, chunk]: JSON quotes every part,
 * so no two different tuples have one name. Parts are taken as they are, without Unicode normalisation: an id that the
 * source tells apart stays apart. Give only what users cannot edit: keys of the source, never titles or file names that
 * may change; renaming would otherwise leave the old records behind.
 */
import { createHash } from "node:crypto";
import { v5 } from "uuid";
import { invalid } from "./errors.ts";
import { shown } from "./metadata.ts";

/** Never changes: every derived id of every installation depends on it. */
export const idNamespace = "5f0b8c1e-7d0a-5c55-9d5e-2f6a1c9b4e37";
const domain = "siltstone-id-1";
const partCharsMax = 4096;

interface SourcePlace {
  readonly tenant: string;
  /** The system or dataset that the text comes from. */
  readonly source: string;
  /** Position of the chunk in its text, from 0. */
  readonly chunk: number;
}
/** A text is named by the source's own key, or, where it has none, by contentHash of the whole text. */
export type IdSource = SourcePlace & ({ readonly sourceId: string } | { readonly contentHash: string });

export function derivedId(from: IdSource): string {
  const hashed = "contentHash" in from;
  if (hashed && "sourceId" in from) throw invalid("derived id: give sourceId or contentHash, not both");
  const value = hashed ? from.contentHash : from.sourceId;
  const parts = { tenant: from.tenant, source: from.source, [hashed ? "contentHash" : "sourceId"]: value };
  for (const [name, part] of Object.entries(parts)) {
    if (typeof part !== "string" || part.length < 1 || part.length > partCharsMax || !part.isWellFormed()) {
      throw invalid(
        `derived id: ${name} must be 1 to ${partCharsMax} characters of well-formed text, got ${shown(part)}`,
      );
    }
  }
  if (hashed && !/^[0-9a-f]{64}$/.test(from.contentHash)) {
    throw invalid(
      `derived id: contentHash must be a sha256 in lower-case hex, got ${shown(from.contentHash)}`,
    );
  }
  if (!Number.isSafeInteger(from.chunk) || from.chunk < 0) {
    throw invalid(`derived id: chunk must be an integer from 0, got ${shown(from.chunk)}`);
  }
  return v5(
    JSON.stringify([domain, from.tenant, from.source, hashed ? "hash" : "id", value, from.chunk]),
    idNamespace,
  );
}

/** sha256 of the text's UTF-8 bytes, in hex. Not normalised: texts that differ in a byte have other hashes. */
export const contentHash = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex");
