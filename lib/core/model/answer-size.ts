/**
 * How large an answer may be, and what is said of one that is larger. It is measured while it is built: a thousand records of
 * the largest documents are a gigabyte and a half of JSON, which no process should make to find that out.
 *
 * 1. The reader counts what each record takes at least, before it is added: the length of its texts, and two bytes for each
 *    component of its vector. So no more is held than a few times of what fits.
 * 2. The function's handler counts the bytes of each record's JSON exactly (lib/aws/lambda-handler.ts), also of merged answers.
 */
import { invalid, type SiltstoneError } from "./errors.ts";

/** Lambda's cap on a call and on an answer, less what is kept for the envelope. */
export const answerBytesMax = 6 * 1024 * 1024 - 4096;

/** A component and its comma. */
export const vectorJsonBytesMin = (dims: number): number => dims * 2;

export const vectorBase64Bytes = (dims: number): number => Math.ceil((dims * 4) / 3) * 4;

/** Bytes of a record's parts, by their names in the answer. */
export type PartSizes = Readonly<Record<string, number>>;

/** Counts the records of an answer, in all its lists. */
export class AnswerSize {
  readonly #records: number;
  readonly #parts = new Map<string, number>();
  #added = 0;
  #bytes = 0;

  constructor(records: number) {
    this.#records = records;
  }

  /** Throws `invalid` when the records do not fit any more, saying which of their parts is the largest. */
  add(parts: PartSizes): void {
    for (const [part, bytes] of Object.entries(parts)) {
      this.#parts.set(part, (this.#parts.get(part) ?? 0) + bytes);
      this.#bytes += bytes;
    }
    if (this.#bytes > answerBytesMax) {
      const [[largest]] = [...this.#parts].sort(([, a], [, b]) => b - a) as [[string, number]];
      throw answerTooLarge({ added: this.#added, records: this.#records, largest });
    }
    this.#added += 1;
  }
}

export function answerTooLarge(filled?: { added: number; records: number; largest: string }): SiltstoneError {
  const by = filled
    ? `; ${filled.added} of up to ${filled.records} records fill it, mostly with their ${filled.largest}`
    : "";
  const reason = `would have more than the ${answerBytesMax} bytes that a Lambda answers with${by}: lower topK, ask for fewer ids, or include less`;
  return invalid(`the answer ${reason}`, [{ field: "answer", reason }]);
}
