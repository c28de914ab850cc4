/**
 * The built-in embedder: text to a vector by signed feature hashing. It knows words, not meanings: two texts are near
 * when they share words or parts of words. It needs no model, no network and no training, and gives the same vector for
 * ever (pinned by test): changing anything here is another embedding version.
 *
 *  1. Normalise: NFKC, lower case, accents dropped (café = cafe).
 *  2. Words are runs of letters, marks and digits. Runs in scripts that do not part words (Han, kana, Thai, Lao, Khmer,
 *     Myanmar), and in Hangul, whose particles cling to words, give their characters and pairs of characters instead.
 *  3. Features: each word, and its character n-grams (3 to 5) with the word's ends marked, so that "segments" and
 *     "segment" share most of theirs. The n-grams of a word together weigh as much as grams of a word should: little.
 *  4. Weight: 1 + ln(count), times 0.1 + 0.15 a character up to 1: without a corpus there is no IDF, but short words
 *     are the frequent ones. English function words count only in a text that has no other words.
 *  5. Each feature goes to one dimension with one sign, both from its 32-bit hash (FNV-1a over the UTF-8 bytes,
 *     finished like MurmurHash3); the sum is scaled to length 1.
 */

import { documentBytesMax } from "../core/model/check-records.ts";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import type { Embedder } from "./embedder.ts";

export const lexicalDims = 384;
const gramMin = 3;
const gramMax = 5;
/** Weight of all n-grams of one word together, beside 1 for the word itself. */
const gramShare = 0.8;
const wordCharsMax = 64;
/** UTF-8 bytes: as much as a document. */
export const textBytesMax = documentBytesMax;

const stopwords = new Set(
  (
    "a about after all also an and any are as at be because been but by can could did do does for from had has have he " +
    "her here him his how i if in into is it its just me more most my no nor not of on only or other our out over own " +
    "s same she should so some such t than that the their them then there these they this those through to too under " +
    "up us very was we were what when where which while who whom why will with would you your"
  ).split(" "),
);

const wordPattern = /[\p{L}\p{M}\p{N}]+/gu;
const unspacedPattern =
  /[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmr}\p{scx=Mymr}]+/gu;
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII
const asciiPattern = /^[\u0000-\u007f]*$/;
const accentPattern = /[\u0300-\u036f]/g;
/** The accents that part no others from their letter: dropped before the text is normalised, they leave it the same. */
const joiningAccentPattern = /[\u0300-\u034e\u0350-\u036f]/g;
/** More marks on a letter than any script has: Unicode's stream-safe text (UAX #15) ends there as well. */
const excessMarksPattern = /(\p{M}{30})\p{M}+/gu;

/** Queries are embedded as documents are. */
export const lexicalEmbedder = (dims: number): Embedder => ({
  embed: async (texts) => ({ vectors: texts.map((text) => lexicalVector(text, dims)), tokens: null }),
  embedEach: async (texts) => ({ outcomes: texts.map((text) => outcomeOf(text, dims)), tokens: null }),
});

function outcomeOf(text: string, dims: number): Float32Array | SiltstoneError {
  try {
    return lexicalVector(text, dims);
  } catch (error) {
    if (error instanceof SiltstoneError) return error;
    throw error;
  }
}

/** A vector of length 1. Throws `invalid` when the text is too long, or has no letter and no digit. */
export function lexicalVector(text: string, dims: number = lexicalDims): Float32Array {
  const bytes = Buffer.byteLength(text);
  if (bytes > textBytesMax)
    throw invalid(`text: has ${bytes} UTF-8 bytes; at most ${textBytesMax} are embedded`);
  const sum = new Float64Array(dims);
  const counted = countedWords(text);
  if (counted.size === 0) throw invalid("text: it has no letter or digit to embed");
  const onlyStopwords = [...counted.keys()].every((word) => stopwords.has(word));
  for (const [word, count] of counted) {
    if (!onlyStopwords && stopwords.has(word)) continue;
    addWord(sum, word, (1 + Math.log(count)) * Math.min(1, 0.1 + 0.15 * word.length));
  }
  let squaredNorm = 0;
  for (const value of sum) squaredNorm += value * value;
  // Features of opposite sign in one dimension can cancel out, in very few dimensions: any fixed vector will do.
  if (squaredNorm < Number.MIN_VALUE * 2 ** 64) sum[0] = squaredNorm = 1;
  const scale = 1 / Math.sqrt(squaredNorm);
  return Float32Array.from(sum, (value) => value * scale);
}

/** Every distinct word of the text with the number of times it occurs. */
function countedWords(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  const add = (word: string) => counts.set(word, (counts.get(word) ?? 0) + 1);
  for (const [word] of normalised(text).matchAll(wordPattern)) {
    if (asciiPattern.test(word)) add(word);
    else addParts(word, add);
  }
  return counts;
}

/**
 * Lower case, compatibility forms folded, accents (U+0300 to U+036F) dropped. Putting the marks of one letter in order takes
 * the square of their number, so that they are few before it begins.
 */
function normalised(text: string): string {
  if (asciiPattern.test(text)) return text.toLowerCase();
  const ordinary = text.replace(joiningAccentPattern, "").replace(excessMarksPattern, "$1");
  return ordinary.normalize("NFKD").toLowerCase().replace(accentPattern, "").normalize("NFKC");
}

/** A run that may hold scripts without spaces: what lies between such stretches is a word, they are cut themselves. */
function addParts(run: string, add: (word: string) => void): void {
  let start = 0;
  for (const match of run.matchAll(unspacedPattern)) {
    if (match.index > start) add(run.slice(start, match.index));
    const chars = Array.from(match[0]);
    for (let i = 0; i < chars.length; i++) {
      add(chars[i]!);
      if (i + 1 < chars.length) add(chars[i]! + chars[i + 1]!);
    }
    start = match.index + match[0].length;
  }
  if (start < run.length) add(run.slice(start));
}

/** Adds a word's features: the word as "=word", and the n-grams of "<word>". */
function addWord(sum: Float64Array, word: string, weight: number): void {
  const bytes = Buffer.from(`=<${word}>`, "utf8");
  // Where each character begins, so that n-grams are of characters; a very long word has those of its beginning.
  const starts: number[] = [];
  for (let i = 1; i < bytes.length && starts.length <= wordCharsMax; i++) {
    if ((bytes[i]! & 0xc0) !== 0x80) starts.push(i);
  }
  if (starts.length <= wordCharsMax) starts.push(bytes.length);
  let hash = fnvStep(fnvStart, bytes[0]!);
  for (let i = 2; i < bytes.length - 1; i++) hash = fnvStep(hash, bytes[i]!);
  addFeature(sum, hash, weight);

  const chars = starts.length - 1;
  let grams = 0;
  for (let n = gramMin; n <= gramMax; n++) grams += Math.max(0, chars - n + 1);
  if (grams === 0) return;
  // Independent signs add up like a random walk: dividing by the root keeps their joint length at the share.
  const gramWeight = (weight * gramShare) / Math.sqrt(grams);
  for (let first = 0; first + gramMin <= chars; first++) {
    let gram = fnvStart;
    let at = starts[first]!;
    for (let n = 1; n <= gramMax && first + n <= chars; n++) {
      const limit = starts[first + n]!;
      for (; at < limit; at++) gram = fnvStep(gram, bytes[at]!);
      if (n >= gramMin) addFeature(sum, gram, gramWeight);
    }
  }
}

const fnvStart = 0x811c9dc5;
const fnvStep = (hash: number, byte: number): number => Math.imul(hash ^ byte, 0x01000193);

function addFeature(sum: Float64Array, hash: number, weight: number): void {
  const mixed = finished(hash);
  const dimension = (mixed >>> 1) % sum.length;
  sum[dimension]! += (mixed & 1) === 1 ? weight : -weight;
}

/** FNV's low bits are weak; this spreads them over all 32. */
function finished(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The 32-bit hash that places a feature, for writers in other languages to compare with. */
export function featureHash(feature: string): number {
  let hash = fnvStart;
  for (const byte of Buffer.from(feature, "utf8")) hash = fnvStep(hash, byte);
  return finished(hash);
}
