/**
 * The producer as a library: an upstream Lambda that bundles it writes deltas itself, without the hop over the producer
 * function. `grantProduce(fn)` (lib/constructs) gives the function the rights and the environment variables for it.
 *
 *     import { createProducer } from "siltstone/produce";
 *     const producer = createProducer();
 *     export const handler = async ({ id, text, vector }) => {
 *       const { token } = await producer.produce({ collection: "notes", records: [{ id, vector, document: text }] });
 *       return { token };
 *     };
 */
import { parseEnvironment } from "../aws/environment.ts";
import { type ProducerNames, producerWorld } from "../aws/producer-world.ts";
import { ownCopy } from "../core/model/own-copy.ts";
import type { Metadata } from "../core/model/row.ts";
import { type ProduceAnswer, type ProduceWorld, produce } from "../engine/write/produce.ts";

export { contentHash, derivedId, type IdSource } from "../core/model/derived-id.ts";
export { type Problem, SiltstoneError } from "../core/model/errors.ts";
export type { ProduceAnswer } from "../engine/write/produce.ts";
export type { ProducerNames };

/** One record to write; it replaces the record that has its id. */
export interface ProduceRecord {
  /** 1 to 512 bytes of UTF-8. */
  readonly id: string;
  /** `dims` finite numbers; a string is base64 of little-endian float32. */
  readonly vector: readonly number[] | Float32Array | string;
  readonly document?: string | null;
  readonly metadata?: Metadata | null;
  /** Required with ordering "source", and not allowed with "arrival". */
  readonly version?: number;
}

export interface ProduceCall {
  /** Its name, or that of an alias. */
  readonly collection: string;
  readonly records?: readonly ProduceRecord[];
  /** Ids, with their versions where the ordering is "source". */
  readonly deletes?: readonly (string | { readonly id: string; readonly version: number })[];
  /** `refuse`: one bad record refuses the whole call. `skip`: the good ones are written. @default "refuse" */
  readonly onInvalid?: "refuse" | "skip";
  /** When given, it must be the collection's; to be given with vectors through an alias whose sides have two. */
  readonly embeddingVersion?: string;
  /** Free text that names the writer in the delta. */
  readonly producer?: string;
}

export interface Producer {
  /**
   * Writes a call's records and deletes; answered means durable. The call is copied at once: its arrays and objects may be
   * used again before it is answered. Throws a SiltstoneError: `invalid` with the problems of its records, up to some 1,000, when the call
   * is refused, `notFound` when there is no such collection, or the caller may not write to it; after `unavailable` (nothing was written) and `uncertain` (some
   * of it may have been; the message says what was) repeat the call.
   */
  produce(call: ProduceCall): Promise<ProduceAnswer>;
}

/** Make one per process: it keeps its connections. By default, everything is read from the environment variables. */
export const createProducer = (names: ProducerNames = parseEnvironment(process.env)): Producer =>
  producerOver(producerWorld(names));

export const producerOver = (world: ProduceWorld): Producer => ({
  // Copied before anything is awaited: from now on the caller's objects are its own again.
  produce: (call) => produce(world, ownCopy(call) as ProduceCall),
});
