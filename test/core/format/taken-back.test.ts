/** Which deltas a roll back may have taken back: a range that holds all of them, and that a manifest may say. */
import { emptyManifest, faultOf, type Manifest, takenBackBy } from "../../../lib/core/format/manifest.ts";
import { newCollection } from "../../../lib/core/model/collection.ts";
import { commitId, deltaId, snapshotVersion } from "../../../lib/core/model/ids.ts";
import { ulidFloor } from "../../../lib/core/model/ulid.ts";

const hour = 3_600_000;
const collection = newCollection({ name: "docs", dims: 2, metric: "l2" }, ulidFloor(0), 0);
const at = (hours: number) => deltaId(ulidFloor(hours * hour));
const version = (n: number, change: Partial<Manifest>): Manifest => ({
  ...emptyManifest(collection, 0),
  version: snapshotVersion(n),
  parent: { version: snapshotVersion(n - 1), commit: commitId(ulidFloor(0)) },
  cause: "ingest",
  ...change,
});
const commit = (hours: number) => commitId(ulidFloor(hours * hour));

test("from the target's watermark to what the head can have applied, also what it has forgotten since", () => {
  const target = version(1, { watermark: at(1), commit: commit(2) });
  // A delta of the fourth hour was applied and forgotten; the last one that is noted is an older, slow one.
  const head = version(3, { watermark: at(3), applied: [at(3.5)], commit: commit(4.5) });
  const { from, to } = takenBackBy(head, target);
  expect(from <= at(2) && to >= at(4)).toBe(true);
});

test("a target that is newer than the head: the range is none, and the manifest is whole", () => {
  const target = version(5, { watermark: at(9), commit: commit(10) });
  const head = version(3, { watermark: at(1), applied: [], commit: commit(2) });
  const takenBack = takenBackBy(head, target);
  expect(takenBack.from <= takenBack.to).toBe(true);
  expect(faultOf({ ...head, takenBack })).toBeNull();
});

test("what the target lacks since an earlier roll back stays taken back", () => {
  const target = version(4, {
    watermark: at(5),
    commit: commit(6),
    takenBack: { from: at(1), to: at(4), version: snapshotVersion(1) },
  });
  const head = version(5, { watermark: at(6), commit: commit(7) });
  expect(takenBackBy(head, target)).toMatchObject({ from: at(1), version: 4 });
});
