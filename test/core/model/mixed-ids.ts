/**
 * What the compiler refuses: an id where one of another kind, or a plain text or number, belongs. Nobody calls it; where tsc
 * accepts one of these lines, the directive above it is the error.
 */
import { deltaKey, manifestKey, segmentKey } from "../../../lib/core/format/keys.ts";
import type { CommitId, DeltaId, SegmentId } from "../../../lib/core/model/ids.ts";

const shard = { collection: "docs", shard: 0 };

export function mixedIds(text: string, delta: DeltaId, segment: SegmentId, commit: CommitId): void {
  // @ts-expect-error: a text is a delta's id when its constructor has seen it
  deltaKey(shard, text);
  // @ts-expect-error: a segment is no delta
  deltaKey(shard, segment);
  // @ts-expect-error: a text is a segment's id when its constructor has seen it
  segmentKey(shard, text, "records.db");
  // @ts-expect-error: a delta is no segment
  segmentKey(shard, delta, "records.db");
  // @ts-expect-error: a text is a commit's id when its constructor has seen it
  manifestKey(shard, 1, text);
  // @ts-expect-error: a segment is no commit
  manifestKey(shard, 1, segment);
  // @ts-expect-error: a commit is no segment
  segmentKey(shard, commit, "records.db");
}
