/** Ids of several kinds look alike. The compiler keeps them apart (mixed-ids.ts); their constructors keep nonsense out. */
import { commitId, deltaId, epoch, segmentId, snapshotVersion } from "../../../lib/core/model/ids.ts";

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

const numbers = { epoch, version: snapshotVersion };

test.each(Object.values(numbers))("a number of a history keeps its value", (numberOf) => {
  for (const value of [0, 1, 999_999_999_999]) expect(numberOf(value)).toBe(value);
});

test.each([-1, 0.5, 1e12, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])(
  "no history reaches %d",
  (value) => {
    for (const [field, numberOf] of Object.entries(numbers))
      expect(() => numberOf(value)).toThrow(`${field}: ${value} is not an integer from 0 to 999999999999`);
  },
);
