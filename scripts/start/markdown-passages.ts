/**
 * Cuts Markdown into passages by heading, for the documents that `npm start` answers questions about. Nothing is
 * dropped: every character of the source but the headings' own lines and blank lines is in exactly one passage.
 */
import { fromMarkdown } from "mdast-util-from-markdown";

export interface Passage {
  /** Texts of the headings above, outermost first. Empty before the first heading. */
  readonly headings: readonly string[];
  readonly text: string;
}

/** Passages of at most `charsMax` UTF-16 units. Long sections are cut at block ends, then lines, then words. */
export function markdownPassages(markdown: string, charsMax = 1500): Passage[] {
  const passages: Passage[] = [];
  const headings: { depth: number; text: string }[] = [];
  let blocks: string[] = [];
  const close = () => {
    for (const text of packed(blocks, charsMax))
      passages.push({ headings: headings.map((heading) => heading.text), text });
    blocks = [];
  };
  // A block's text is the source up to the next block's beginning, so that what the parser reads as nothing stays too.
  const nodes = fromMarkdown(markdown).children;
  nodes.forEach((node, i) => {
    const start = node.position!.start.offset!;
    const limit = node.position!.end.offset!;
    const next = nodes[i + 1]?.position?.start.offset ?? markdown.length;
    if (i === 0) pushText(blocks, markdown.slice(0, start));
    if (node.type === "heading") {
      close();
      while (headings.length > 0 && headings.at(-1)!.depth >= node.depth) headings.pop();
      headings.push({ depth: node.depth, text: headingText(markdown.slice(start, limit)) });
      pushText(blocks, markdown.slice(limit, next));
    } else {
      pushText(blocks, markdown.slice(start, next));
    }
  });
  close();
  return passages;
}

function pushText(blocks: string[], text: string): void {
  const trimmed = text.replace(/^(?:[ \t]*\r?\n)+/, "").trimEnd();
  if (trimmed.trim() !== "") blocks.push(trimmed);
}

/** "## `a` **b** ##" or a setext heading, without the marks. */
const headingText = (source: string): string =>
  source
    .replace(/^#+[ \t]*/, "")
    .replace(/\r?\n[=-]+[ \t]*$/, "")
    .replace(/[ \t]+#+[ \t]*$/, "")
    .replace(/[`*]/g, "")
    .trim();

/** Blocks joined up to the bound; one that is larger by itself is cut. */
function packed(blocks: readonly string[], charsMax: number): string[] {
  const texts: string[] = [];
  let text = "";
  for (const piece of blocks.flatMap((block) => pieces(block, charsMax))) {
    const joined = text === "" ? piece : `${text}\n\n${piece}`;
    if (joined.length <= charsMax) text = joined;
    else {
      texts.push(text);
      text = piece;
    }
  }
  if (text !== "") texts.push(text);
  return texts;
}

function pieces(block: string, charsMax: number): string[] {
  const cut: string[] = [];
  let rest = block;
  while (rest.length > charsMax) {
    const limit = cutAt(rest, charsMax);
    cut.push(rest.slice(0, limit).trimEnd());
    rest = rest.slice(limit).replace(/^[ \t]*\r?\n|^ /, "");
  }
  cut.push(rest);
  return cut.filter((piece) => piece.trim() !== "");
}

/** The best place to cut in the later half: after a line, else after a word, else between two whole characters. */
function cutAt(text: string, charsMax: number): number {
  for (const separator of ["\n", " "]) {
    const found = text.lastIndexOf(separator, charsMax - 1);
    if (found >= charsMax / 2) return found + 1;
  }
  // Not inside a grapheme (an emoji of several characters), unless one is larger than the bound.
  const from = Math.max(0, charsMax - 64);
  let at = 0;
  for (const { index } of new Intl.Segmenter("und", { granularity: "grapheme" }).segment(
    text.slice(from, charsMax + 1),
  )) {
    if (from + index <= charsMax && from + index > 0) at = from + index;
  }
  return at > 0 ? at : Math.max(1, charsMax);
}
