/**
 * A reader's file descriptors, budgeted like its bytes: a process has only so many, and one that has none left answers
 * nothing any more. They are shared out between
 *
 * - records.db files, which stay open: the least recently used ones are closed where there are too many;
 * - files that are being fetched, and rows of backlogs that are becoming segments: a few at a time;
 * - what is opened and closed at once, or by the threads that read graphs (`passingMax`);
 * - the thread that opens segments (`threadMax`).
 *
 * Connections to S3 are the client's to bound (lib/aws/descriptors.ts).
 */
import pLimit, { type LimitFunction } from "p-limit";
import { RecordsPool } from "../../segment/open-records.ts";

/** Where the number is not given. */
export const descriptorsDefault = 512;
/** Files fetched at a time. */
const fetchedMax = 16;
/** Segments made of backlogs at a time; each has so many files open meanwhile. */
const madeMax = 4;
const filesOfMade = 4;
const passingMax = 8;
const threadMax = 8;
/** Parts fetched at a time, of all files: 128 MiB, and more than a function's network carries. */
const partsAtOnce = 16;

export class Descriptors {
  readonly records: RecordsPool;
  readonly files: LimitFunction;
  readonly parts = pLimit(partsAtOnce);
  readonly making: LimitFunction;

  /** `max`: what the reader may have open. */
  constructor(max: number) {
    const fetched = share(max, 8, fetchedMax);
    const made = share(max, 64, madeMax);
    this.files = pLimit(fetched);
    this.making = pLimit(made);
    this.records = new RecordsPool(Math.max(1, max - fetched - made * filesOfMade - passingMax - threadMax));
  }
}

const share = (max: number, part: number, most: number): number =>
  Math.min(most, Math.max(1, Math.floor(max / part)));
