/** What an answer, or an error, says of the query groups that failed. */
import type { Collection } from "../../core/model/collection.ts";
import { isKind, SiltstoneError } from "../../core/model/errors.ts";
import type { Provenance } from "./read-request.ts";

export interface GroupFailure {
  readonly group: number;
  readonly shards: readonly number[];
  readonly error: Error;
}

/** Shards that a message names. */
const shardsShownMax = 8;

/** One damaged group makes the whole call one for a human. */
export function failureOf(collection: Collection, failed: readonly GroupFailure[]): SiltstoneError {
  const kind = failed.some(({ error }) => isKind(error, "corrupt")) ? "corrupt" : "unavailable";
  return new SiltstoneError(kind, `collection ${collection.name}: ${failed.map(reasonOf).join("; ")}`, {
    cause: failed[0]!.error,
  });
}

export const missingOf = (failed: readonly GroupFailure[]): NonNullable<Provenance["partial"]> => ({
  missingShards: failed.flatMap(({ shards }) => shards).sort((a, b) => a - b),
  reasons: failed.map(reasonOf),
});

function reasonOf({ group, shards, error }: GroupFailure): string {
  const shown = shards.slice(0, shardsShownMax).join(", ");
  const more = shards.length > shardsShownMax ? ` and ${shards.length - shardsShownMax} more` : "";
  return `query group ${group} (shards ${shown}${more}): ${error.message}`;
}
