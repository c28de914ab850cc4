/** The embedder, called by a function that waits for what it has saved. */
import { embedInCallMarginMs, embedInCallMs } from "../core/policy/time-bounds.ts";
import type { EmbeddedItem, EmbedderCall } from "../jobs/ports.ts";
import type { AwsAccess } from "./access.ts";
import { FunctionCaller } from "./function-caller.ts";

export function embedderCall(functionName: string, access: AwsAccess): EmbedderCall {
  const caller = new FunctionCaller(access);
  return {
    async embed(keys) {
      const event = { source: "call", items: keys.map(({ collectionId, item }) => [collectionId, item]) };
      const waitMs = embedInCallMs + embedInCallMarginMs;
      // A call without an answer has lost nothing: the items are saved, and the same save embeds what is left.
      const answer = (await caller.call(functionName, event, { writes: false, waitMs })) as {
        items: readonly EmbeddedItem[];
      };
      return answer.items;
    },
  };
}
