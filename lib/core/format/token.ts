/** Write tokens: they name the deltas of an acknowledged write, so that a query can be asked to see exactly them. */
import { checkCollectionName } from "../model/collection.ts";
import { invalid, type SiltstoneError } from "../model/errors.ts";
import { type DeltaId, deltaId } from "../model/ids.ts";
import { isUlid } from "../model/ulid.ts";

export interface WriteToken {
  /** By which the write was asked for; null where the collection itself was named. */
  readonly alias?: string | null;
  readonly collection: string;
  /** Which collection of that name; null in a token that older code made. */
  readonly collectionId: string | null;
  readonly deltas: readonly { readonly shard: number; readonly delta: DeltaId }[];
}

/** What a token of each format begins with; the first has no id, the third an alias before the collection. */
const prefixes = { third: "w3.", second: "w2.", first: "w1." } as const;
/**
 * Deltas that the tokens of one call may name, all together: each costs up to two requests. A producer call makes one for
 * each shard (at most 1,024), and a few dozen more where its rows are many or long.
 */
export const namedDeltasMax = 1_200;
/** Base64 of the longest token: two names, an id, and for each delta `[shard,"ULID"],`. */
const tokenCharsMax = prefixes.second.length + Math.ceil(((170 + namedDeltasMax * 36) * 4) / 3);

export function encodeToken({ alias, collection, collectionId, deltas }: WriteToken): string {
  const named = deltas.map(({ shard, delta }) => [shard, delta]);
  const own = collectionId === null ? [collection, ...named] : [collection, collectionId, ...named];
  const body = alias == null ? own : [alias, ...own];
  const prefix = alias != null ? prefixes.third : collectionId === null ? prefixes.first : prefixes.second;
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
  const rest = [...(body as unknown[])];
  const alias = prefix === prefixes.third ? checkCollectionName(rest.shift()) : null;
  const collection = rest.shift();
  const collectionId = prefix === prefixes.first ? null : rest.shift();
  if (collectionId !== null && (typeof collectionId !== "string" || !isUlid(collectionId))) throw refuse();
  if (rest.length > namedDeltasMax) throw tooManyNamed();
  return {
    alias,
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
