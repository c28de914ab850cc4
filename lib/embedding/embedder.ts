/**
 * The port: texts become vectors. Writers, imports and queries all go through it, so that a text has the same vector
 * wherever it is embedded.
 */
export type Purpose = "document" | "query";

export interface Embedder {
  /**
   * A vector of the collection's dims for each text, in their order. Throws `invalid` when a text cannot be embedded: then
   * no text has a vector.
   */
  embed(texts: readonly string[], purpose: Purpose): Promise<Float32Array[]>;
}
