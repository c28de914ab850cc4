import fc from "fast-check";
import { jsonEntriesMax, jsonKeysMax, jsonLevelsMax } from "../../lib/aws/json-scan.ts";
import { checkJsonBounds, parseJson } from "../../lib/aws/json-text.ts";
import { parseExactly } from "../../lib/core/model/exact-json.ts";

const reasonOf = (text: string): string | null => {
  try {
    parseJson(text);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
};

test("the scan takes exactly what JSON.parse takes", () => {
  const token = fc.constantFrom(
    ...'{ } [ ] : , " \\ / a é 😀 0 1 -1 01 1. .5 1.5e+9 1e 1E-2 - + true false null tru nul \\u00e9 \\u00g9 \\n \\x'.split(
      " ",
    ),
    '"a"',
    '"a":',
    " ",
    "\n",
    "\t",
    "\u0000",
    "\u00a0",
    "\ufeff",
    "\ud800",
  );
  const texts = fc.oneof(
    fc.array(token, { maxLength: 12 }).map((tokens) => tokens.join("")),
    fc.json({ maxDepth: 5 }),
    fc.tuple(fc.json({ maxDepth: 5 }), fc.nat(), token).map(([text, at, one]) => {
      const place = at % (text.length + 1);
      return text.slice(0, place) + one + text.slice(place);
    }),
    fc.tuple(fc.json({ maxDepth: 5 }), fc.nat()).map(([text, at]) => text.slice(0, at % (text.length + 1))),
  );
  fc.assert(
    fc.property(texts, (text) => {
      let value: unknown = "no JSON";
      try {
        value = { value: parseExactly(text) };
      } catch {}
      let scanned: unknown = "no JSON";
      try {
        scanned = { value: parseJson(text) };
      } catch (error) {
        expect((error as Error).message).toMatch(/^body: not JSON at position \d+ /);
      }
      expect(scanned).toEqual(value);
    }),
    { numRuns: 3_000 },
  );
});

test("JSON that is too deep, too wide or too long is refused by its bound, parsed or not", () => {
  const nested = (n: number) => "[".repeat(n) + "]".repeat(n);
  const wide = (n: number) => `{${Array.from({ length: n }, (_, i) => `"k${i}":0`).join()}}`;
  const list = (n: number) => `[${Array(n).fill("0").join()}]`;
  const lists = (n: number) => `[${Array(n).fill('[{"a":"]},"}, 0]').join()}]`;
  const objects = (n: number) => `{${Array.from({ length: n }, (_, i) => `"k\\"${i}":{"a":[]}`).join()}}`;
  const bounds: [(n: number) => string, number, RegExp][] = [
    [nested, jsonLevelsMax, /^body: nested deeper than 34 levels/],
    [wide, jsonKeysMax, /^body: an object has more than 1024 keys/],
    [list, jsonEntriesMax, /^body: a list has more than 65536 entries/],
    [lists, jsonEntriesMax, /^body: a list has more than 65536 entries/],
    [objects, jsonKeysMax, /^body: an object has more than 1024 keys/],
  ];
  for (const [make, max, reason] of bounds) {
    expect(reasonOf(make(max))).toBeNull();
    expect(reasonOf(make(max + 1))).toMatch(reason);
    expect(() => checkJsonBounds(JSON.parse(make(max)))).not.toThrow();
    expect(() => checkJsonBounds(JSON.parse(make(max + 1)))).toThrow(reason);
  }
});

test("a mistake is found where it is, far into a long text, and its surroundings are not shown", () => {
  const start = `{"records":[${'{"id":"patient-4711"},'.repeat(50_000)}`;
  expect(reasonOf(`${start}patient-4712]}`)).toBe(
    `body: not JSON at position ${start.length} (line 1, column ${start.length + 1}): a value is expected`,
  );
});
