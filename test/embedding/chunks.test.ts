/** Chunks: nothing dropped, nothing cut in two that belongs together, every one within its window. */
import fc from "fast-check";
import { type Chunk, chunksOf } from "../../lib/embedding/chunks.ts";

const bytes = (text: string) => Buffer.byteLength(text);
const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

function check(text: string, bytesMax: number, overlapBytes = 0): Chunk[] {
  const chunks = chunksOf(text, { bytesMax, overlapBytes });
  let reached = 0;
  for (const [i, chunk] of chunks.entries()) {
    expect(chunk.index).toBe(i);
    expect(bytes(chunk.text)).toBeLessThanOrEqual(bytesMax);
    expect(chunk.text.trim()).not.toBe("");
    expect(chunk.text.isWellFormed()).toBe(true);
    const own = text.slice(chunk.start, chunk.limit);
    // All of it, or all but white space at its ends.
    if (chunk.text !== own) expect(chunk.text).toBe(own.trim());
    expect(chunk.start).toBeLessThanOrEqual(reached);
    expect(bytes(text.slice(chunk.start, reached))).toBeLessThanOrEqual(overlapBytes);
    expect(chunk.limit).toBeGreaterThan(reached);
    reached = chunk.limit;
  }
  if (text.trim() === "") expect(chunks).toEqual([]);
  else expect(reached).toBe(text.length);
  return chunks;
}

const piece = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 30 }),
  fc.constantFrom(
    "\r\n",
    "\n\n",
    "# Heading\n",
    " ",
    "\t",
    "\0",
    ". ",
    "。",
    "？",
    "👩‍👩‍👧‍👦",
    "🇩🇪",
    "é",
    "ne\u0301e",
    "مرحبا بالعالم. ",
    "砂岩は石です。",
    "สวัสดี",
    "x".repeat(40),
  ),
);
const anyText = fc.array(piece, { maxLength: 40 }).map((parts) => parts.join(""));

test("spans cover any text exactly, and every chunk fits", () => {
  fc.assert(
    fc.property(
      anyText,
      fc.integer({ min: 4, max: 200 }),
      fc.double({ min: 0, max: 0.5, noNaN: true }),
      (text, bytesMax, share) => {
        const overlap = Math.min(Math.floor(bytesMax * share), bytesMax - 4);
        check(text, bytesMax, Math.max(0, overlap));
      },
    ),
    { numRuns: 500 },
  );
});

test("no grapheme is cut that fits into a chunk", () => {
  fc.assert(
    fc.property(anyText, fc.integer({ min: 64, max: 200 }), (text, bytesMax) => {
      const limits = new Set([0, text.length]);
      for (const { index, segment } of graphemes.segment(text)) {
        limits.add(index);
        if (bytes(segment) > bytesMax) for (let i = 0; i < segment.length; i++) limits.add(index + i);
      }
      for (const { start, limit } of check(text, bytesMax)) {
        expect(limits.has(start)).toBe(true);
        expect(limits.has(limit)).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});

test("sections, paragraphs and sentences stay whole where they fit", () => {
  const text = "# One\nFirst. Second.\n\nThird one here.\n\n# Two\nFourth is short.\n";
  expect(check(text, 200).map((chunk) => chunk.text)).toEqual([text]);
  expect(check(text, 50).map((chunk) => chunk.text)).toEqual([
    "# One\nFirst. Second.\n\nThird one here.\n\n",
    "# Two\nFourth is short.\n",
  ]);
  expect(check(text, 24).map((chunk) => chunk.text)).toEqual([
    "# One\nFirst. Second.\n\n",
    "Third one here.\n\n",
    "# Two\nFourth is short.\n",
  ]);
  expect(check(text, 16).map((chunk) => chunk.text)).toEqual([
    "# One\n",
    "First. Second.\n\n",
    "Third one here.",
    "# Two\n",
    "Fourth is short.",
  ]);
});

test("an overlap repeats whole sentences of the chunk before, else whole words", () => {
  const text = "One is here. Two is here. Three is here. Four is here.";
  expect(check(text, 40, 14).map((chunk) => chunk.text)).toEqual([
    "One is here. Two is here. ",
    "Two is here. Three is here. ",
    "is here. Four is here.",
  ]);
});

test("a line of a megabyte without a space, an emoji family, CRLF and NUL", () => {
  expect(check("x".repeat(1_000_000), 8_000)).toHaveLength(125);
  expect(
    check("👩‍👩‍👧‍👦".repeat(50), 60).every(({ text }) => [...graphemes.segment(text)].length === 2),
  ).toBe(true);
  const text = "a\r\n\r\nb\0c\r\n".repeat(1_000);
  expect(
    check(text, 64)
      .map((chunk) => chunk.text)
      .join(""),
  ).toBe(text);
  expect(check("砂岩は石です。".repeat(2_000), 512).length).toBeGreaterThan(80);
  expect(check(` ${" ".repeat(100_000)}end`, 100)).toHaveLength(1);
});

test("bounds that nothing fits and lone surrogates are refused", () => {
  expect(() => chunksOf("a", { bytesMax: 3 })).toThrow(/at least 4 bytes/);
  expect(() => chunksOf("a", { bytesMax: 100, overlapBytes: 51 })).toThrow(/at most half/);
  expect(() => chunksOf("a\ud800", { bytesMax: 100 })).toThrow(/lone surrogate/);
});
