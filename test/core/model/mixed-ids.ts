/**
 * What the compiler refuses: an id where one of another kind, or a plain text or number, belongs. Nobody calls it; where tsc
 * accepts one of these lines, the directive above it is the error.
 */
import { deltaKey, segmentKey } from "../../../lib/core/format/keys.ts";
import type { DeltaId, SegmentId } from "../../../lib/core/model/ids.ts";

const shard = { collection: "docs", shard: 0 };

export function mixedIds(text: string, delta: DeltaId, segment: SegmentId): void {
  // @ts-expect-error: a text is a delta's id when its constructor has seen it
  deltaKey(shard, text);
  // @ts-expect-error: a segment is no delta
  deltaKey(shard, segment);
  // @ts-expect-error: a text is a segment's id when its constructor has seen it
  segmentKey(shard, text, "records.db");
  // @ts-expect-error: a delta is no segment
  segmentKey(shard, delta, "records.db");
}
