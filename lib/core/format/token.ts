/** Write tokens: they name the deltas of an acknowledged write, so that a query can be asked to see exactly them. */
import { checkCollectionName } from "../model/collection.ts";
import { invalid, type SiltstoneError } from "../model/errors.ts";
import { type DeltaId, deltaId } from "../model/ids.ts";
import { isUlid } from "../model/ulid.ts";

export interface WriteToken {
  readonly collection: string;
  /** Which collection of that name; null in a token that older code made. */
  readonly collectionId: string | null;
  readonly deltas: readonly { readonly shard: number; readonly delta: DeltaId }[];
}

/** What a token of each format begins with; the first format has no id. */
const prefixes = { second: "w2.", first: "w1." } as const;
/**
 * Deltas that the tokens of one call may name, all together: each costs up to two requests. A producer call makes one for
 * each shard (at most 1,024), and a few dozen more where its rows are many or long.
 */
export const namedDeltasMax = 1_200;
/** Base64 of the longest token: a name, an id, and for each delta `[shard,"ULID"],`. */
const tokenCharsMax = prefixes.second.length + Math.ceil(((100 + namedDeltasMax * 36) * 4) / 3);

export function encodeToken({ collection, collectionId, deltas }: WriteToken): string {
  const named = deltas.map(({ shard, delta }) => [shard, delta]);
  const body = collectionId === null ? [collection, ...named] : [collection, collectionId, ...named];
  const prefix = collectionId === null ? prefixes.first : prefixes.second;
  return prefix + Buffer.from(JSON.stringify(body)).toString("base64url");
}

/** Throws `invalid` for anything that encodeToken did not make. */
export function decodeToken(text: unknown): WriteToken {
  const refuse = () => invalid(`atLeast: ${JSON.stringify(String(text).slice(0, 40))} is not a write token`);
  if (typeof text !== "string") throw refuse();
  const prefix = Object.values(prefixes).find((known) => text.startsWith(known));
  if (prefix === undefined) throw refuse();
  if (text.length > tokenCharsMax) throw tooManyNamed();
  let body: unknown;
  try {
    body = JSON.parse(Buffer.from(text.slice(prefix.length), "base64url").toString("utf8"));
  } catch {
    throw refuse();
  }
  if (!Array.isArray(body) || body.length < 1) throw refuse();
  const [collection, ...rest] = body as [unknown, ...unknown[]];
  const collectionId = prefix === prefixes.second ? rest.shift() : null;
  if (collectionId !== null && (typeof collectionId !== "string" || !isUlid(collectionId))) throw refuse();
  if (rest.length > namedDeltasMax) throw tooManyNamed();
  return {
    collection: checkCollectionName(collection),
    collectionId,
    deltas: rest.map((entry) => {
      const [shard, delta] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (
        !Number.isSafeInteger(shard) ||
        (shard as number) < 0 ||
        typeof delta !== "string" ||
        !isUlid(delta)
      )
        throw refuse();
      return { shard: shard as number, delta: deltaId(delta) };
    }),
  };
}

export const tooManyNamed = (): SiltstoneError =>
  invalid(
    `atLeast: the tokens of a call may name ${namedDeltasMax} deltas together, and these name more; read with consistency strong`,
  );
