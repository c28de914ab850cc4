/** Write tokens: they name the deltas of an acknowledged write, so that a query can be asked to see exactly them. */
import { checkCollectionName } from "./collection.ts";
import { invalid, type SiltstoneError } from "./errors.ts";
import { isUlid } from "./keys.ts";

export interface WriteToken {
  readonly collection: string;
  readonly deltas: readonly { readonly shard: number; readonly delta: string }[];
}

const tokenPrefix = "w1.";
/**
 * Deltas that the tokens of one call may name, all together: each costs up to two requests. A producer call makes one for
 * each shard (at most 1,024), and a few dozen more where its rows are many or long.
 */
export const namedDeltasMax = 1_200;
/** Base64 of the longest token: a name, and for each delta `[shard,"ULID"],`. */
const tokenCharsMax = tokenPrefix.length + Math.ceil(((70 + namedDeltasMax * 36) * 4) / 3);

export function encodeToken(token: WriteToken): string {
  const body = [token.collection, ...token.deltas.map(({ shard, delta }) => [shard, delta])];
  return tokenPrefix + Buffer.from(JSON.stringify(body)).toString("base64url");
}

/** Throws `invalid` for anything that encodeToken did not make. */
export function decodeToken(text: unknown): WriteToken {
  const refuse = () => invalid(`atLeast: ${JSON.stringify(String(text).slice(0, 40))} is not a write token`);
  if (typeof text !== "string" || !text.startsWith(tokenPrefix)) throw refuse();
  if (text.length > tokenCharsMax) throw tooManyNamed();
  let body: unknown;
  try {
    body = JSON.parse(Buffer.from(text.slice(tokenPrefix.length), "base64url").toString("utf8"));
  } catch {
    throw refuse();
  }
  if (!Array.isArray(body) || body.length < 1) throw refuse();
  if (body.length > namedDeltasMax + 1) throw tooManyNamed();
  const [collection, ...deltas] = body as [unknown, ...unknown[]];
  return {
    collection: checkCollectionName(collection),
    deltas: deltas.map((entry) => {
      const [shard, delta] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (
        !Number.isSafeInteger(shard) ||
        (shard as number) < 0 ||
        typeof delta !== "string" ||
        !isUlid(delta)
      )
        throw refuse();
      return { shard: shard as number, delta };
    }),
  };
}

export const tooManyNamed = (): SiltstoneError =>
  invalid(
    `atLeast: the tokens of a call may name ${namedDeltasMax} deltas together, and these name more; read with consistency strong`,
  );
