/** Write tokens: they name the deltas of an acknowledged write, so that a query can be asked to see exactly them. */
import { checkCollectionName } from "./collection.ts";
import { invalid } from "./errors.ts";
import { isUlid } from "./keys.ts";

export interface WriteToken {
  readonly collection: string;
  readonly deltas: readonly { readonly shard: number; readonly delta: string }[];
}

const tokenPrefix = "w1.";
/** Deltas that one token may name: a call of the largest size writes far fewer. */
export const tokenDeltasMax = 4_096;

export function encodeToken(token: WriteToken): string {
  const body = [token.collection, ...token.deltas.map(({ shard, delta }) => [shard, delta])];
  return tokenPrefix + Buffer.from(JSON.stringify(body)).toString("base64url");
}

/** Throws `invalid` for anything that encodeToken did not make. */
export function decodeToken(text: unknown): WriteToken {
  const refuse = () => invalid(`atLeast: ${JSON.stringify(String(text).slice(0, 40))} is not a write token`);
  if (typeof text !== "string" || !text.startsWith(tokenPrefix)) throw refuse();
  let body: unknown;
  try {
    body = JSON.parse(Buffer.from(text.slice(tokenPrefix.length), "base64url").toString("utf8"));
  } catch {
    throw refuse();
  }
  if (!Array.isArray(body) || body.length < 1 || body.length > tokenDeltasMax + 1) throw refuse();
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
