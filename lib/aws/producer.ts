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
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import { type ProduceAnswer, type ProduceCall, produce } from "../engine/produce.ts";
import { Traffic } from "../engine/traffic.ts";
import { type Environment, parseEnvironment } from "./environment.ts";
import { requestHandler, s3SocketsMax, socketsMax } from "./request-handler.ts";
import { S3ObjectStore } from "./s3-object-store.ts";
import { sendMessage } from "./sqs-delta-queue.ts";
import { systemClock } from "./system-clock.ts";

export { contentHash, derivedId, type IdSource } from "../core/derived-id.ts";
export { type Problem, SiltstoneError } from "../core/errors.ts";
export type { ProduceAnswer, ProduceCall } from "../engine/produce.ts";

export interface Producer {
  /**
   * Writes a call's records and deletes; answered means durable. Throws a SiltstoneError, `invalid` with every problem
   * of every record when the call is refused. Any other kind: repeat the same call, which is always safe.
   */
  produce(call: ProduceCall): Promise<ProduceAnswer>;
}

/** Make one per process: it keeps its connections. By default, everything is read from the environment variables. */
export function createProducer(
  { bucket, queueUrl }: Pick<Environment, "bucket" | "queueUrl"> = parseEnvironment(process.env),
): Producer {
  const s3 = new S3Client({ requestHandler: requestHandler(s3SocketsMax) });
  const sqs = new SQSClient({ requestHandler: requestHandler(socketsMax) });
  const world = {
    store: new S3ObjectStore(s3, bucket, new Traffic()),
    queue: { send: (body: string) => sendMessage(sqs, { QueueUrl: queueUrl, MessageBody: body }) },
    clock: systemClock(),
  };
  return { produce: (call) => produce(world, call) };
}
