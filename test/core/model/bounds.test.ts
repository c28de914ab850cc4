import { bounds } from "../../../lib/core/model/bounds.ts";
import { boundsFault } from "../../support/small-bounds.ts";

test("the bounds fit each other: no LIST is cut before what a read or a manifest must know of", () => {
  expect(boundsFault(bounds)).toBeNull();
  expect(boundsFault({ ...bounds, listedDeltas: 2_500 })).toMatch("a cut LIST");
  expect(boundsFault({ ...bounds, appliedDeltas: 17_999 })).toMatch("applied");
});
