/** What `silt import` is given: which rows of a source become what. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Collection } from "../../lib/core/model/collection.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { isPlainObject } from "../../lib/core/model/metadata.ts";
import type { Selection } from "../../lib/import/import-rows.ts";
import { strictText, unreadable } from "../../lib/import/input-text.ts";
import { readOnce } from "../../lib/import/inputs.ts";
import type { Nested, Shape } from "../../lib/import/shape-row.ts";
import type { ImportSource } from "../../lib/import/source.ts";

export interface ImportArguments {
  readonly from?: string;
  readonly records?: string;
  readonly vectors?: string;
  readonly plan?: boolean;
  readonly idField?: string;
  readonly textField?: string;
  readonly vectorField?: string;
  readonly metadataField?: string;
  readonly versionField?: string;
  readonly map?: readonly string[];
  readonly only?: readonly string[];
  readonly nested: Nested;
  readonly idMap?: string;
  readonly deriveIds?: string;
  readonly namespace?: string;
  readonly reEmbed?: boolean;
  readonly limit?: number;
  readonly incomplete?: boolean;
  readonly wait?: boolean;
  readonly verify?: boolean;
}

/** Whether rows come from standard input, which is read once. */
export const isStandardInput = ({ from }: ImportArguments): boolean =>
  from?.slice(from.indexOf(":") + 1).replace(/\?.*$/, "") === "-";

/** Throws `invalid` for what would read standard input a second time, after its rows are gone. */
export function checkStandardInput(options: ImportArguments): void {
  const { plan, verify } = options;
  if (!isStandardInput(options)) return;
  if (verify) throw readOnce("--verify reads the source again");
  if (plan) throw readOnce("--plan reads what the import would read after it");
}

/** What the options say of a source's rows. Throws `invalid`. */
export function selectionOf(source: ImportSource, options: ImportArguments): Selection {
  const { idField, textField, vectorField, metadataField, versionField } = options;
  const ids = options.idMap === undefined ? new Map<string, string>() : idMapOf(options.idMap);
  const shape: Shape = {
    fields: {
      id: idField ?? source.fields.id,
      document: textField ?? source.fields.document,
      vector: vectorField ?? source.fields.vector,
      metadata: metadataField ?? source.fields.metadata,
      version: versionField ?? source.fields.version,
    },
    renamed: new Map((options.map ?? []).map(renaming)),
    only: options.only === undefined ? null : new Set(options.only),
    nested: options.nested,
    reEmbed: options.reEmbed ?? false,
    ids,
    newIds: new Set(ids.values()),
    deriveIds: options.deriveIds ?? null,
  };
  return { source, shape, namespace: options.namespace ?? null, limit: options.limit ?? null };
}

function renaming(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw invalid(`--map: say OLD=NEW, got ${JSON.stringify(text.slice(0, 80))}`);
}

function idMapOf(path: string): Map<string, string> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw unreadable("--id-map", path)(error);
  }
  const text = strictText(bytes, `--id-map: ${path}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(`--id-map: ${path} cannot be read as JSON: ${(error as Error).message}`);
  }
  if (!isPlainObject(value))
    throw invalid(`--id-map: ${path} must hold one JSON object of new ids by old ones`);
  const ids = new Map<string, string>();
  const taken = new Set<string>();
  for (const [old, id] of Object.entries(value)) {
    if (typeof id !== "string") throw invalid(`--id-map: the new id of ${JSON.stringify(old)} is no text`);
    if (taken.has(id)) throw invalid(`--id-map: two ids become ${JSON.stringify(id)}`);
    taken.add(id);
    ids.set(old, id);
  }
  return ids;
}

/** Throws `invalid` where the collection needs versions and the source gives none, or the other way round. */
export function checkVersionField(
  collection: Collection,
  { versionField }: ImportArguments,
  source: ImportSource,
): void {
  const needed = collection.ordering === "source";
  if (needed && versionField === undefined && source.fields.version === null && !source.givesVersions) {
    throw invalid(
      `collection ${collection.name} has ordering source: say which field holds the version, with --version-field`,
    );
  }
  if (!needed && versionField !== undefined) {
    throw invalid(
      `--version-field: collection ${collection.name} has ordering arrival, where the time of the import is the version`,
    );
  }
}

/** Files of the import's own are in the working folder, named after what is imported, or into what. */
export function fileNameOf(name: string, { records, from }: ImportArguments): string {
  if (records !== undefined) return basename(records);
  const location = from!.slice(from!.indexOf(":") + 1);
  const own = basename(location);
  const isNone = /^[-.]?\.?$/.test(own) || /[?#]|^[a-z0-9]+:\/\/(?!.*\.[a-z0-9]+$)/.test(location);
  return isNone ? name : own;
}
