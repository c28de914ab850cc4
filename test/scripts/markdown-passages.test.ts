import fc from "fast-check";
import { markdownPassages } from "../../scripts/start/markdown-passages.ts";

const doc = `---
Before any heading.

# Silt \`stone\`

Intro.

## Words

- one
- two

\`\`\`sh
# not a heading
npm start
\`\`\`

### Deeper ##

Text.

Second title
============

| a | b |
|---|---|
| 1 | 2 |

<!-- a comment -->
[ref]: https://example.com
`;

test("passages by heading, with the path of headings above", () => {
  expect(markdownPassages(doc).map(({ headings, text }) => [headings.join(" > "), text])).toEqual([
    ["", "---\n\nBefore any heading."],
    ["Silt stone", "Intro."],
    ["Silt stone > Words", "- one\n- two\n\n```sh\n# not a heading\nnpm start\n```"],
    ["Silt stone > Words > Deeper", "Text."],
    ["Second title", "| a | b |\n|---|---|\n| 1 | 2 |\n\n<!-- a comment -->\n\n[ref]: https://example.com"],
  ]);
  expect(markdownPassages("")).toEqual([]);
  expect(markdownPassages("# Only a heading")).toEqual([]);
});

const ink = (text: string) => text.replace(/\s/g, "");

test("nothing is dropped, the bound holds, and no character is cut in two", () => {
  const word = fc.oneof(
    fc.constantFrom("Straße", "石", "砂岩は石です", "👩‍👩‍👧", "مرحبا", "a", "`x`", "1.", "-", ">", "~~~"),
    fc.string({ unit: "grapheme" }),
  );
  const line = fc.array(word, { minLength: 1, maxLength: 12 }).map((words) => words.join(" "));
  const source = fc
    .array(fc.oneof(line, fc.constant("")), { maxLength: 20 })
    .map((lines) => lines.join("\n"));
  fc.assert(
    fc.property(source, fc.integer({ min: 20, max: 200 }), (text, charsMax) => {
      fc.pre(!/^[ \t>\-*+0-9.)]*#|[=-]\s*$/m.test(text) && !text.includes("\r"));
      const passages = markdownPassages(text, charsMax);
      expect(ink(passages.map((passage) => passage.text).join(""))).toBe(ink(text));
      for (const passage of passages) {
        expect(passage.text.length).toBeLessThanOrEqual(charsMax);
        expect(passage.text.isWellFormed()).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});

test("a long paragraph is cut at words, a long word at whole graphemes", () => {
  const paragraph = Array.from({ length: 60 }, (_, i) => `word${i}`).join(" ");
  const passages = markdownPassages(paragraph, 100).map((passage) => passage.text);
  expect(passages.join(" ")).toBe(paragraph);
  const families = "👩‍👩‍👧".repeat(40);
  const pieces = markdownPassages(families, 50).map((passage) => passage.text);
  expect(pieces.join("")).toBe(families);
  for (const piece of pieces) expect(piece.replaceAll("👩‍👩‍👧", "")).toBe("");
});
