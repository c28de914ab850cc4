/**
 * What the compiler refuses: an id where one of another kind, or a plain text or number, belongs. Nobody calls it; where tsc
 * accepts one of these lines, the directive above it is the error.
 */
import { deltaKey } from "../../../lib/core/format/keys.ts";

const shard = { collection: "docs", shard: 0 };

export function mixedIds(text: string): void {
  // @ts-expect-error: a text is a delta's id when its constructor has seen it
  deltaKey(shard, text);
}
