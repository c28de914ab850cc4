/** Ids of several kinds look alike. The compiler keeps them apart (mixed-ids.ts); their constructors keep nonsense out. */
import { deltaId } from "../../../lib/core/model/ids.ts";

const ulid = "01J00000000000000000000001";

test("an id keeps its text", () => {
  for (const text of ["0".repeat(26), ulid, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"]) expect(deltaId(text)).toBe(text);
});

test.each([
  "",
  ulid.slice(1),
  `${ulid}0`,
  ulid.toLowerCase(),
  `8${ulid.slice(1)}`,
  ulid.replace("J", "I"),
  "../secret",
])("%j is no id", (text) => {
  expect(() => deltaId(text)).toThrow(`delta: ${JSON.stringify(text)} is not a ULID`);
});
