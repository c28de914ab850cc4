/**
 * What the compiler refuses: an id where one of another kind, or a plain text or number, belongs. It is never called; where tsc
 * accepts one of these lines, the directive above it is the error.
 */
import { deltaKey, manifestKey, segmentKey } from "../../../lib/core/format/keys.ts";
import { encodeManifest, type Manifest } from "../../../lib/core/format/manifest.ts";
import type { CommitId, DeltaId, Epoch, SegmentId, SnapshotVersion } from "../../../lib/core/model/ids.ts";

const shard = { collection: "docs", shard: 0 };

interface Ids {
  readonly delta: DeltaId;
  readonly segment: SegmentId;
  readonly commit: CommitId;
  readonly epoch: Epoch;
  readonly version: SnapshotVersion;
}

export function mixedIds(
  text: string,
  { delta, segment, commit, epoch, version }: Ids,
  manifest: Manifest,
): void {
  // @ts-expect-error: a text is a delta's id when its constructor has seen it
  deltaKey(shard, text);
  // @ts-expect-error: a segment is no delta
  deltaKey(shard, segment);
  // @ts-expect-error: a text is a segment's id when its constructor has seen it
  segmentKey(shard, text, "records.db");
  // @ts-expect-error: a delta is no segment
  segmentKey(shard, delta, "records.db");
  // @ts-expect-error: a text is a commit's id when its constructor has seen it
  manifestKey(shard, version, text);
  // @ts-expect-error: a segment is no commit
  manifestKey(shard, version, segment);
  // @ts-expect-error: a commit is no segment
  segmentKey(shard, commit, "records.db");
  // @ts-expect-error: a number is an epoch when its constructor has seen it
  encodeManifest({ ...manifest, epoch: 1 });
  // @ts-expect-error: an epoch and one is a number
  encodeManifest({ ...manifest, epoch: epoch + 1 });
  // @ts-expect-error: a number is a version when its constructor has seen it
  manifestKey(shard, 1, commit);
  // @ts-expect-error: an epoch is no version
  manifestKey(shard, epoch, commit);
  // @ts-expect-error: a version is no epoch
  encodeManifest({ ...manifest, epoch: version });
}
