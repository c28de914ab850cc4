/**
 * A text cut into chunks, each within an embedding model's window. Nothing is dropped: the spans of the chunks, one after
 * the other, cover the text exactly, but for what they overlap as asked.
 *
 *  1. What fits is one chunk.
 *  2. What does not is parted at the coarsest boundaries it has: headings, paragraphs, lines, sentences, words, graphemes, and
 *     code points where one grapheme does not fit.
 *  3. Neighbouring parts of one kind are put together again as long as they fit. A part that was cut itself stands alone:
 *     the end of one section is not glued to the beginning of the next.
 *  4. White space belongs to the span of what stands before it (at the beginning: after it), and to its text as far as it fits. A
 *     text of white space alone has no chunk.
 *
 * Sentences, words and graphemes are Unicode's (UAX #29, Intl.Segmenter), so that no letter, emoji or line end is cut.
 */
import { invalid } from "../core/model/errors.ts";

export interface ChunkBounds {
  /** UTF-8 bytes of a chunk, overlap included, at most. */
  readonly bytesMax: number;
  /** UTF-8 bytes of the chunk before that a chunk begins with, at most: whole sentences or words. @default 0 */
  readonly overlapBytes?: number;
}

/** Half open, in UTF-16 units of the text. */
export interface Chunk {
  readonly index: number;
  readonly start: number;
  readonly limit: number;
  /** What lies between. */
  readonly text: string;
}

interface Span {
  readonly start: number;
  readonly limit: number;
}

/** Any code point has at most four bytes. */
const bytesMaxLeast = 4;

/** Throws `invalid` for bounds that no text fits, and for text with a lone surrogate. */
export function chunksOf(text: string, { bytesMax, overlapBytes = 0 }: ChunkBounds): Chunk[] {
  if (!text.isWellFormed()) throw invalid("text: is not well-formed Unicode (a lone surrogate)");
  const ownBytesMax = bytesMax - overlapBytes;
  if (!(overlapBytes >= 0 && ownBytesMax >= Math.max(bytesMaxLeast, bytesMax / 2)))
    throw invalid(
      `chunks: of ${bytesMax} bytes with ${overlapBytes} of overlap; a chunk has at least ${bytesMaxLeast} bytes and at most half of it is overlap`,
    );
  const spans = withoutBlanks(text, cut(text, { start: 0, limit: text.length }, 0, ownBytesMax));
  return spans.map((span, index) => {
    const start = index === 0 ? span.start : overlapStart(text, spans[index - 1]!, overlapBytes);
    const own = text.slice(start, span.limit);
    return { index, start, limit: span.limit, text: Buffer.byteLength(own) <= bytesMax ? own : own.trim() };
  });
}

/** Where a chunk begins that repeats the end of the one before: with a sentence, else with a word. */
function overlapStart(text: string, before: Span, overlapBytes: number): number {
  if (overlapBytes === 0) return before.limit;
  const whole = text.slice(before.start, before.limit);
  const least = whole.length - overlapBytes; // A unit has a byte at least.
  for (const ends of [segmentEnds("sentence"), segmentEnds("word")]) {
    for (const end of ends(whole)) {
      if (end < least || end === whole.length) continue;
      const repeated = whole.slice(end);
      if (/^\S/u.test(repeated) && Buffer.byteLength(repeated) <= overlapBytes) return before.start + end;
    }
  }
  return before.limit;
}

/** Where a text may be parted, from coarse to fine: the ends of its parts, ascending. */
const boundaries: readonly ((text: string) => Iterable<number>)[] = [
  (text) => starts(text, /^#{1,6}[ \t]/gm),
  blankLineEnds,
  (text) => ends(text, /\r?\n/g),
  segmentEnds("sentence"),
  segmentEnds("word"),
  segmentEnds("grapheme"),
  codePointEnds,
];

function cut(text: string, span: Span, level: number, bytesMax: number): Span[] {
  const whole = text.slice(span.start, span.limit);
  if (Buffer.byteLength(whole) <= bytesMax) return span.limit > span.start ? [span] : [];
  const spans: Span[] = [];
  let open: { start: number; limit: number; bytes: number } | null = null;
  let start = 0;
  for (const limit of withEnd(boundaries[level]!(whole), whole.length)) {
    if (limit <= start) continue;
    const bytes = Buffer.byteLength(whole.slice(start, limit));
    if (open !== null && open.bytes + bytes <= bytesMax) {
      open.limit = limit;
      open.bytes += bytes;
    } else {
      if (open !== null) spans.push(moved(open, span.start));
      open = bytes <= bytesMax ? { start, limit, bytes } : null;
      if (open === null) spans.push(...cut(text, moved({ start, limit }, span.start), level + 1, bytesMax));
    }
    start = limit;
  }
  if (open !== null) spans.push(moved(open, span.start));
  return spans;
}

const moved = ({ start, limit }: Span, by: number): Span => ({ start: start + by, limit: limit + by });

function* withEnd(limits: Iterable<number>, end: number): Iterable<number> {
  yield* limits;
  yield end;
}

function* starts(text: string, pattern: RegExp): Iterable<number> {
  for (const { index } of text.matchAll(pattern)) yield index;
}

function* ends(text: string, pattern: RegExp): Iterable<number> {
  for (const { index, 0: match } of text.matchAll(pattern)) yield index + match.length;
}

/** Behind two line ends and more with blanks between them. By hand: a pattern's steps back from millions of them have no room. */
function* blankLineEnds(text: string): Iterable<number> {
  let lineEnds = 0;
  let end = -1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", end)) {
    const isNext = (text[at - 1] === "\r" ? at - 1 : at) === end;
    if (!isNext && lineEnds >= 2) yield end;
    lineEnds = isNext ? lineEnds + 1 : 1;
    end = at + 1;
    while (text[end] === " " || text[end] === "\t") end++;
  }
  if (lineEnds >= 2) yield end;
}

function segmentEnds(granularity: "sentence" | "word" | "grapheme"): (text: string) => Iterable<number> {
  // A fixed locale: the same text has the same chunks on every machine.
  const segmenter = new Intl.Segmenter("en", { granularity });
  return function* (text) {
    for (const { index, segment } of segmenter.segment(text)) yield index + segment.length;
  };
}

function* codePointEnds(text: string): Iterable<number> {
  let end = 0;
  for (const point of text) {
    end += point.length;
    yield end;
  }
}

/** A chunk of white space has nothing to embed: it belongs to the chunk before, or at the beginning to the one after. */
function withoutBlanks(text: string, spans: readonly Span[]): Span[] {
  const kept: { start: number; limit: number }[] = [];
  let blankStart: number | null = null;
  for (const { start, limit } of spans) {
    const last = kept.at(-1);
    if (text.slice(start, limit).trim() !== "") {
      kept.push({ start: last === undefined ? (blankStart ?? start) : start, limit });
    } else if (last !== undefined) last.limit = limit;
    else blankStart ??= start;
  }
  return kept;
}
