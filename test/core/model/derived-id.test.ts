import fc from "fast-check";
import { contentHash, derivedId, type IdSource, idNamespace } from "../../../lib/core/model/derived-id.ts";

const place = { tenant: "acme", source: "notes", chunk: 0 };

test("ids are the same for ever (IDS-1)", () => {
  expect(idNamespace).toBe("5f0b8c1e-7d0a-5c55-9d5e-2f6a1c9b4e37");
  expect(contentHash("Straße 石 🪨")).toBe(
    "061f5dae538788caaa34f4db21773728693c0c5ee48d20f955b227cbd2eb42ed",
  );
  expect(derivedId({ ...place, sourceId: "n-17" })).toBe("1f2df0c2-337b-56ef-8743-942d54a9a4ff");
  expect(derivedId({ ...place, sourceId: "n-17", chunk: 1 })).toBe("20647c36-6ec9-5c03-b5b2-6f0307cd2b77");
  expect(derivedId({ ...place, contentHash: contentHash("Straße 石 🪨") })).toBe(
    "ded36028-2a49-53d1-a84c-3f4ffbc038d8",
  );
});

test("different sources have different ids, also where their parts run together when joined", () => {
  const part = fc.oneof(
    fc.constantFrom("a", "b", "ab", '"', '","', "a/b", "1"),
    fc.string({ minLength: 1, unit: "grapheme" }),
  );
  const from = fc.record({ tenant: part, source: part, sourceId: part, chunk: fc.nat(3) });
  fc.assert(
    fc.property(from, from, (a, b) => {
      const same =
        a.tenant === b.tenant && a.source === b.source && a.sourceId === b.sourceId && a.chunk === b.chunk;
      expect(derivedId(a) === derivedId(b)).toBe(same);
    }),
  );
  const hash = contentHash("x");
  expect(derivedId({ ...place, sourceId: hash })).not.toBe(derivedId({ ...place, contentHash: hash }));
});

test("composed and decomposed text are two sources", () => {
  expect(derivedId({ ...place, sourceId: "é" })).not.toBe(derivedId({ ...place, sourceId: "e\u0301" }));
  expect(contentHash("é")).not.toBe(contentHash("e\u0301"));
});

test.each<[unknown, string]>([
  [{ ...place, sourceId: "" }, 'sourceId must be 1 to 4096 characters of well-formed text, got ""'],
  [{ ...place, sourceId: "\ud800" }, "sourceId must be 1 to 4096 characters of well-formed text"],
  [
    { ...place, tenant: undefined, sourceId: "a" },
    "tenant must be 1 to 4096 characters of well-formed text, got undefined",
  ],
  [{ ...place, sourceId: "a", contentHash: contentHash("a") }, "give sourceId or contentHash, not both"],
  [{ ...place, contentHash: "A".repeat(64) }, "contentHash must be a sha256 in lower-case hex"],
  [{ ...place, sourceId: "a", chunk: -1 }, "chunk must be an integer from 0, got -1"],
  [{ ...place, sourceId: "a", chunk: 0.5 }, "chunk must be an integer from 0, got 0.5"],
])("%j is refused", (from, message) => {
  expect(() => derivedId(from as IdSource)).toThrow(message);
});
