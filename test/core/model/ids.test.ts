/** Ids of several kinds look alike. The compiler keeps them apart (mixed-ids.ts); their constructors keep nonsense out. */
import { commitId, deltaId, segmentId } from "../../../lib/core/model/ids.ts";

const ulid = "01J00000000000000000000001";

const constructors = { delta: deltaId, segment: segmentId, commit: commitId };

test.each(Object.values(constructors))("an id keeps its text", (idOf) => {
  for (const text of ["0".repeat(26), ulid, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"]) expect(idOf(text)).toBe(text);
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
  for (const [field, idOf] of Object.entries(constructors))
    expect(() => idOf(text)).toThrow(`${field}: ${JSON.stringify(text)} is not a ULID`);
});
